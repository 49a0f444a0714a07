//! What each operator, condition and return value can become.

use syn::spanned::Spanned;
use syn::{BinOp, Expr};

pub(super) fn text_of(op: &BinOp) -> String {
    op.span().source_text().unwrap_or_default()
}

/// A condition that no other change touches.
pub(super) fn is_opaque(condition: &Expr) -> bool {
    matches!(
        condition,
        Expr::Call(_) | Expr::MethodCall(_) | Expr::Path(_) | Expr::Macro(_) | Expr::Field(_)
    )
}

/// True for `let` conditions, which cannot be moved.
pub(super) fn has_let(e: &Expr) -> bool {
    match e {
        Expr::Let(_) => true,
        Expr::Binary(e) => has_let(&e.left) || has_let(&e.right),
        Expr::Paren(e) => has_let(&e.expr),
        _ => false,
    }
}

pub(super) const fn is_comparison(op: &BinOp) -> bool {
    matches!(
        op,
        BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_)
    )
}

pub(super) fn is_compound(op: &BinOp) -> bool {
    compound_replacement(&text_of(op)).is_some()
}

/// What each operator becomes.
pub(super) fn replacements(op: &BinOp) -> &'static [&'static str] {
    match op {
        BinOp::Add(_) => &["-"],
        BinOp::Sub(_) | BinOp::Div(_) | BinOp::Rem(_) => &["+"],
        BinOp::Mul(_) => &["+"],
        BinOp::And(_) => &["||"],
        BinOp::Or(_) => &["&&"],
        BinOp::BitXor(_) => &["|", "&"],
        BinOp::BitAnd(_) => &["|"],
        BinOp::BitOr(_) => &["&"],
        BinOp::Shl(_) => &[">>"],
        BinOp::Shr(_) => &["<<"],
        BinOp::Eq(_) => &["!="],
        BinOp::Ne(_) => &["=="],
        BinOp::Lt(_) => &["<=", ">"],
        BinOp::Le(_) => &["<", ">"],
        BinOp::Gt(_) => &[">=", "<"],
        BinOp::Ge(_) => &[">", "<"],
        _ => &[],
    }
}

pub(super) fn compound_replacement(op: &str) -> Option<&'static str> {
    Some(match op {
        "+=" => "-=",
        "-=" => "+=",
        "*=" | "/=" | "%=" => "+=",
        "&=" => "|=",
        "|=" => "&=",
        "^=" => "|=",
        "<<=" => ">>=",
        ">>=" => "<<=",
        _ => return None,
    })
}

/// Values that a function of this type can return instead of its own.
pub(super) fn values_of(output: &syn::ReturnType) -> Vec<&'static str> {
    let syn::ReturnType::Type(_, kind) = output else {
        return vec!["()"];
    };
    let text = kind.span().source_text().unwrap_or_default();
    match text.as_str() {
        "bool" => vec!["true", "false"],
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64"
        | "isize" => {
            vec!["0", "1"]
        }
        "String" => vec!["String::new()"],
        "&str" | "&'static str" => vec!["\"\""],
        _ if text.starts_with("Option<") => vec!["None"],
        _ if text.starts_with("Result<()") || text == "fmt::Result" => vec!["Ok(())"],
        _ if text.starts_with("Vec<") && !text.contains('{') => vec!["Default::default()"],
        _ => vec![],
    }
}
