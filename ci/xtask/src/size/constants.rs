//! Sizes that are constants of the monitor's source. It is a program without
//! a library, so they are read and computed here.

use crate::paths::{Paths, read_text};
use anyhow::{Context, Result, bail};
use syn::{BinOp, Expr, ExprLit, File, Item, Lit};

/// Bytes of the unit in which the monitor's constants are written.
const PAGE: u64 = cellvisor_abi::PAGE_SIZE;

/// The value of a constant of a source file.
///
/// # Errors
///
/// It is not there, or its expression has a form that is not known here.
pub(super) fn value(paths: &Paths, file: &str, name: &str) -> Result<u64> {
    let source = read_text(&paths.repo(file))?;
    let file = syn::parse_file(&source).with_context(|| format!("{file} is no Rust"))?;
    constant(&file, name)
}

fn constant(file: &File, name: &str) -> Result<u64> {
    if name == "PAGE" {
        return Ok(PAGE);
    }
    let expr = file.items.iter().find_map(|item| match item {
        Item::Const(item) if item.ident == name => Some(&*item.expr),
        _ => None,
    });
    evaluate(file, expr.with_context(|| format!("no constant {name}"))?)
}

fn evaluate(file: &File, expr: &Expr) -> Result<u64> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Int(number),
            ..
        }) => Ok(number.base10_parse()?),
        Expr::Path(path) => {
            let last = path.path.segments.last().context("an empty path")?;
            constant(file, &last.ident.to_string())
        }
        Expr::Cast(cast) => evaluate(file, &cast.expr),
        Expr::Paren(inner) => evaluate(file, &inner.expr),
        Expr::Binary(pair) => {
            let (left, right) = (evaluate(file, &pair.left)?, evaluate(file, &pair.right)?);
            let result = match pair.op {
                BinOp::Add(_) => left.checked_add(right),
                BinOp::Mul(_) => left.checked_mul(right),
                BinOp::Shl(_) => u32::try_from(right)
                    .ok()
                    .and_then(|by| left.checked_shl(by)),
                _ => None,
            };
            result.context("an operation that is not known here")
        }
        _ => bail!("an expression that is not known here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_may_name_each_other() {
        let source =
            "const STACK: usize = 2 * PAGE; pub(crate) const AREA: usize = STACK + (1 << 12);";
        let file = syn::parse_file(source).expect("parses");
        assert_eq!(constant(&file, "AREA").expect("computes"), 12288);
        assert!(constant(&file, "NONE").is_err());
    }
}
