//! `cargo xtask header`: the driver's C header, made from the abi crate.
//!
//! Structures are read from the crate's source, numbers from the crate itself.

use crate::paths::{Paths, read_text, write_if_changed};
use anyhow::{Context, Result, bail};
use cellvisor_abi as abi;
use std::fmt::{Debug, Write};

/// The header, in the repository.
const FILE: &str = "driver/cellvisor_abi.h";

/// Structures that cross the driver, by the file that holds them, and their
/// sizes in bytes.
const STRUCTS: &[(&str, &str, usize)] = &[
    ("image", "ImageHeader", size_of::<abi::image::ImageHeader>()),
    ("image", "BootInfo", size_of::<abi::image::BootInfo>()),
    ("ioctl", "Info", size_of::<abi::ioctl::Info>()),
    ("ioctl", "Enable", size_of::<abi::ioctl::Enable>()),
    ("ioctl", "Pin", size_of::<abi::ioctl::Pin>()),
    ("ioctl", "Call", size_of::<abi::ioctl::Call>()),
];

/// Requests: name, number, macro, structure.
const REQUESTS: &[(&str, u8, &str, Option<&str>)] = &[
    ("INFO", abi::ioctl::INFO, "_IOR", Some("cv_info")),
    ("ENABLE", abi::ioctl::ENABLE, "_IOWR", Some("cv_enable")),
    ("DISABLE", abi::ioctl::DISABLE, "_IOWR", Some("cv_enable")),
    ("PIN", abi::ioctl::PIN, "_IOWR", Some("cv_pin")),
    ("UNPIN", abi::ioctl::UNPIN, "_IO", None),
    ("CALL", abi::ioctl::CALL, "_IOWR", Some("cv_call")),
];

const TOP: &str = "\
/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The contract between cellvisor's tools, driver and monitor, as far as the
 * driver needs it. Written by `cargo xtask header` from
 * hypervisor/abi/src/{image,ioctl,status,call}.rs, where every field is
 * explained: change it there.
 */
#ifndef CELLVISOR_ABI_H
#define CELLVISOR_ABI_H

#include <linux/ioctl.h>
#include <linux/types.h>

";

/// Writes the header if it differs.
///
/// # Errors
///
/// The crate's source has a form that C has not, or the file cannot be
/// written.
pub(crate) fn write(paths: &Paths) -> Result<()> {
    let changed = write_if_changed(&paths.repo(FILE), generate(paths)?.as_bytes())?;
    println!(
        "{FILE} {}",
        if changed { "written" } else { "is up to date" }
    );
    Ok(())
}

/// Compares the header with what it should be.
///
/// # Errors
///
/// It differs: the first line that does.
pub(crate) fn check(paths: &Paths) -> Result<()> {
    let (have, want) = (read_text(&paths.repo(FILE))?, generate(paths)?);
    if have == want {
        return Ok(());
    }
    let differs = |(_, (have, want)): &(usize, (&str, &str))| have != want;
    let line = have.lines().zip(want.lines()).enumerate().find(differs);
    let (number, have, want) = line.map_or((0, "", ""), |(n, (have, want))| (n + 1, have, want));
    bail!(
        "{FILE}:{number} is not what the abi crate says: `{have}` instead of `{want}`; \
         run `cargo xtask header`"
    )
}

fn generate(paths: &Paths) -> Result<String> {
    let mut text = TOP.to_owned();
    constants(&mut text)?;
    for (file, name, size) in STRUCTS {
        let source = read_text(&paths.repo(&format!("hypervisor/abi/src/{file}.rs")))?;
        text.push_str(&structure(&source, name)?);
        let name = snake(name);
        writeln!(
            text,
            "_Static_assert(sizeof(struct cv_{name}) == {size}, \"cv_{name}\");\n"
        )?;
    }
    writeln!(text, "#define CV_PIN_RESERVED {}", abi::ioctl::PIN_RESERVED)?;
    writeln!(text, "#define CV_CALL_BUFFER {}\n", abi::ioctl::CALL_BUFFER)?;
    for (name, number, direction, argument) in REQUESTS {
        let kind = char::from(abi::ioctl::TYPE);
        let argument = argument
            .map(|name| format!(", struct {name}"))
            .unwrap_or_default();
        writeln!(
            text,
            "#define CV_IOC_{name} {direction}('{kind}', {number}{argument})"
        )?;
    }
    writeln!(
        text,
        "\n#define CV_CODE_LEAVE {}\n#define CV_CODE_CELLS_END {}\n#define CV_CODE_WATCH {}",
        abi::call::Code::Leave as u32,
        abi::call::Code::CellsEnd as u32,
        abi::call::Code::Watch as u32
    )?;
    let looks = abi::call::Code::LOOKS
        .iter()
        .map(|code| (*code as u32).to_string());
    writeln!(
        text,
        "#define CV_CODES_LOOK \\\n\t{}",
        looks.collect::<Vec<_>>().join(", ")
    )?;
    codes(&mut text, "ENTER", abi::status::EnterStatus::ALL, |code| {
        code.code()
    })?;
    codes(&mut text, "CALL", abi::status::CallStatus::ALL, |code| {
        code.code()
    })?;
    text.push_str("\n#endif /* CELLVISOR_ABI_H */\n");
    Ok(text)
}

fn constants(text: &mut String) -> Result<()> {
    let magic = String::from_utf8(abi::image::MAGIC.to_vec()).context("the magic is no text")?;
    writeln!(text, "#define CV_ABI_VERSION {}", abi::ABI_VERSION)?;
    writeln!(text, "#define CV_PAGE_SIZE {}ULL", abi::PAGE_SIZE)?;
    writeln!(text, "#define CV_CHUNK_SIZE {:#x}ULL\n", abi::CHUNK_SIZE)?;
    writeln!(text, "#define CV_MAGIC \"{magic}\"")?;
    writeln!(text, "#define CV_BASE {:#x}ULL", abi::image::BASE)?;
    writeln!(text, "#define CV_BRIDGE_SLOT {}", abi::image::BRIDGE_SLOT)?;
    writeln!(text, "#define CV_BRIDGE_PAGES {BRIDGE_PAGES}")?;
    writeln!(text, "#define CV_MAX_CHUNKS {}\n", abi::image::MAX_CHUNKS)?;
    Ok(())
}

/// Levels 5 to 2 (`ImageHeader::bridge_tables`).
const BRIDGE_PAGES: u32 = 4;

fn codes<T: Copy + Debug>(
    text: &mut String,
    group: &str,
    all: &[T],
    number: impl Fn(T) -> u32,
) -> Result<()> {
    text.push('\n');
    for code in all {
        let name = snake(&format!("{code:?}")).to_uppercase();
        writeln!(text, "#define CV_{group}_{name} {}", number(*code))?;
    }
    Ok(())
}

/// A structure of `source` in C.
fn structure(source: &str, name: &str) -> Result<String> {
    let file = syn::parse_file(source).context("the abi crate's source cannot be parsed")?;
    let item = file.items.iter().find_map(|item| match item {
        syn::Item::Struct(item) if item.ident == name => Some(item),
        _ => None,
    });
    let item = item.with_context(|| format!("the abi crate has no structure {name}"))?;
    let mut text = format!("struct cv_{} {{\n", snake(name));
    for field in &item.fields {
        let field_name = field
            .ident
            .as_ref()
            .context("a structure with unnamed fields")?;
        let (kind, count) = c_type(&field.ty)
            .with_context(|| format!("{name}.{field_name} has a type that C has not"))?;
        writeln!(text, "\t{kind} {field_name}{count};")?;
    }
    text.push_str("};\n");
    Ok(text)
}

/// A field's type in C, and what stands behind its name.
fn c_type(ty: &syn::Type) -> Option<(&'static str, String)> {
    match ty {
        syn::Type::Path(path) => {
            let kind = match path.path.get_ident()?.to_string().as_str() {
                "u8" => "__u8",
                "u16" => "__u16",
                "u32" => "__u32",
                "u64" => "__u64",
                _ => return None,
            };
            Some((kind, String::new()))
        }
        syn::Type::Array(array) => {
            let (kind, _) = c_type(&array.elem)?;
            let count = match &array.len {
                syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Int(count),
                    ..
                }) => count.to_string(),
                syn::Expr::Path(path) => format!("CV_{}", path.path.get_ident()?),
                _ => return None,
            };
            Some((kind, format!("[{count}]")))
        }
        _ => None,
    }
}

/// `MissingFeature` as `missing_feature`; digits stay with their word.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_keeps_order_arrays_and_names() {
        let source =
            "#[repr(C)] pub struct BootInfo { pub a: u32, pub b: [u64; MAX], pub c: [u8; 8] }";
        let want = "struct cv_boot_info {\n\t__u32 a;\n\t__u64 b[CV_MAX];\n\t__u8 c[8];\n};\n";
        assert_eq!(structure(source, "BootInfo").expect("converts"), want);
    }

    #[test]
    fn structure_with_a_foreign_type_is_refused() {
        let why = structure("struct S { a: usize }", "S").expect_err("refused");
        assert_eq!(why.to_string(), "S.a has a type that C has not");
    }
}
