//! Functions of a cell as `status` shows them.

use crate::state::CellFunction;
use cellvisor_abi::call::FunctionStatus;
use cellvisor_abi::plan::Wire;

/// A function: where the cell sees it, where it is, what it is.
pub(super) fn described(function: &CellFunction) -> String {
    format!(
        "{} is {}, {}",
        function.plan.guest, function.plan.bdf, function.kind
    )
}

/// How a function interrupts by its pin, or why it cannot.
pub(super) fn interrupt(function: &CellFunction) -> Option<String> {
    let wired = |wire: Wire| {
        let (gsi, pin, at) = (wire.gsi, wire.pin, wire.io_apic);
        format!("interrupt {gsi} there, pin {pin} of the I/O APIC at {at:#x} here")
    };
    let silent = || Some(format!("no interrupt: {}", function.silent.as_ref()?));
    function.plan.wire.map(wired).or_else(silent)
}

/// What a function does now, and what was kept from it.
pub(super) fn doing(live: &FunctionStatus) -> String {
    let dma = match (live.unprotected, live.bus_master) {
        (true, _) => "no DMA for want of an IOMMU",
        (false, true) => "DMA on",
        (false, false) => "DMA off",
    };
    let (all, used) = live.vectors;
    format!(
        "{dma}, {used} of {all} vectors in use, {} requests blocked",
        live.faults
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pci::record_with_vfs;

    #[test]
    fn function_is_told_with_both_addresses() {
        let function = record_with_vfs("a", 1, 1).functions.remove(1);
        assert_eq!(described(&function), "0000:00:01.0 is 0000:02:10.1, device");
        let live = FunctionStatus {
            bdf: function.plan.bdf,
            guest: function.plan.guest,
            unprotected: false,
            bus_master: true,
            vectors: (9, 2),
            faults: 1,
        };
        assert_eq!(
            doing(&live),
            "DMA on, 2 of 9 vectors in use, 1 requests blocked"
        );
    }

    #[test]
    fn line_of_a_function_is_told_or_why_it_has_none() {
        let mut function = record_with_vfs("a", 1, 1).functions.remove(1);
        assert_eq!(interrupt(&function), None);
        function.silent = Some("its line is shared".into());
        let text = interrupt(&function).expect("told");
        assert_eq!(text, "no interrupt: its line is shared");
        function.plan.wire = Some(Wire {
            io_apic: 0xfec0_0000,
            pin: 20,
            gsi: 16,
        });
        let text = interrupt(&function).expect("told");
        assert_eq!(
            text,
            "interrupt 16 there, pin 20 of the I/O APIC at 0xfec00000 here"
        );
    }
}
