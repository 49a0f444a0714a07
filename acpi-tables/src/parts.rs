//! Pieces that tables are made of.

use acpi_tables::aml::{Name, Path};
use acpi_tables::{Aml, AmlSink};
use alloc::vec::Vec;

/// AML that is made already.
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// Adds `Name (name, value)`.
pub(crate) fn name(name: &str, value: &dyn Aml, out: &mut dyn AmlSink) {
    Name::new(Path::new(name), value).to_aml_bytes(out);
}

/// The bytes of a table or structure.
pub(crate) fn bytes(item: &dyn Aml) -> Vec<u8> {
    let mut out = Vec::new();
    item.to_aml_bytes(&mut out);
    out
}

/// UTF-16 with a zero at the end, as `_STR` has it.
pub(crate) fn unicode(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}
