//! Finds the places: walks a file's syntax.

use super::operators::{
    compound_replacement, has_let, is_comparison, is_compound, is_opaque, replacements, text_of,
    values_of,
};
use super::{Mutant, Piece, Place, Side, is_test};
use proc_macro2::Span;
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, UnOp};

/// Walks a file and collects its places.
#[derive(Default)]
pub(super) struct Finder {
    pub(super) places: Vec<Place>,
    function: Vec<String>,
}

impl Finder {
    fn add(&mut self, whole: Span, pieces: Vec<Piece>, whats: &[String]) {
        let Some(function) = self.function.last() else {
            return;
        };
        let mutant = |what: &String| Mutant {
            line: whole.start().line,
            function: function.clone(),
            what: what.clone(),
        };
        self.places.push(Place {
            range: whole.byte_range(),
            pieces,
            mutants: whats.iter().map(mutant).collect(),
        });
    }

    /// `left OP right`, computed once for all changes.
    fn binary(&mut self, e: &syn::ExprBinary) {
        let op = text_of(&e.op);
        let others = replacements(&e.op);
        if others.is_empty() || has_let(&e.left) || has_let(&e.right) {
            return;
        }
        let whole = e.span();
        let (open, middle, close) = match e.op {
            BinOp::And(_) => (
                "(match (".to_owned(),
                ") { l__ => match {0} { m__ => if l__ == m__ { m__ } else {".to_owned(),
                " } } })".to_owned(),
            ),
            BinOp::Or(_) => (
                "(match (".to_owned(),
                ") { l__ => match {0} { m__ => if l__ != m__ { !m__ } else {".to_owned(),
                " } } })".to_owned(),
            ),
            _ => {
                let (by, at) = if is_comparison(&e.op) {
                    ("&", "*")
                } else {
                    ("", "")
                };
                let mut close = ")) { (l__, r__) => ".to_owned();
                for (n, other) in others.iter().enumerate() {
                    close += &format!("if {{{n}}} {{ {at}l__ {other} {at}r__ }} else ");
                }
                close += &format!("{{ {at}l__ {op} {at}r__ }} }})");
                (format!("(match ({by}("), format!("), {by}("), close)
            }
        };
        let range = whole.byte_range();
        let pieces = vec![
            piece(range.start..range.start, Side::Open, open),
            piece(e.op.span().byte_range(), Side::Close, middle),
            piece(range.end..range.end, Side::Close, close),
        ];
        let whats: Vec<String> = others
            .iter()
            .map(|other| format!("{op} → {other}"))
            .collect();
        self.add(whole, pieces, &whats);
    }

    /// `place OP= value`.
    fn compound(&mut self, e: &syn::ExprBinary) {
        let op = text_of(&e.op);
        let Some(other) = compound_replacement(&op) else {
            return;
        };
        let range = e.span().byte_range();
        let close = format!(
            ")) {{ (l__, r__) => if {{0}} {{ *l__ {other} r__ }} else {{ *l__ {op} r__ }} }})"
        );
        let pieces = vec![
            piece(range.start..range.start, Side::Open, "(match (&mut ("),
            piece(e.op.span().byte_range(), Side::Close, "), ("),
            piece(range.end..range.end, Side::Close, close),
        ];
        self.add(e.span(), pieces, &[format!("{op} → {other}")]);
    }

    fn not(&mut self, e: &syn::ExprUnary) {
        let range = e.span().byte_range();
        let close = ") { v__ => if {0} { v__ } else { !v__ } })";
        let pieces = vec![
            piece(e.op.span().byte_range(), Side::Open, "(match ("),
            piece(range.end..range.end, Side::Close, close),
        ];
        self.add(e.span(), pieces, &["delete !".to_owned()]);
    }

    /// A condition that is always true, and never.
    fn condition(&mut self, condition: &Expr, name: &str) {
        if has_let(condition) {
            return;
        }
        let range = condition.span().byte_range();
        let pieces = vec![
            piece(range.start..range.start, Side::Open, "({0} || (!{1} && ("),
            piece(range.end..range.end, Side::Close, ")))"),
        ];
        let whats = ["true", "false"].map(|value| format!("{name} → {value}"));
        self.add(condition.span(), pieces, &whats);
    }

    /// Takes an arm out, where another catches all that it did.
    fn arms(&mut self, e: &syn::ExprMatch) {
        let catches_all = |arm: &syn::Arm| match &arm.pat {
            syn::Pat::Wild(_) => true,
            // Not `None` and other constants.
            syn::Pat::Ident(pat) => pat.ident.to_string().starts_with(char::is_lowercase),
            _ => false,
        };
        if !e.arms.last().is_some_and(catches_all) {
            return;
        }
        for arm in &e.arms {
            if !matches!(arm.pat, syn::Pat::Guard(_)) && !catches_all(arm) {
                let end = arm.pat.span().byte_range().end;
                let pieces = vec![piece(end..end, Side::Close, " if !{0}")];
                self.add(arm.pat.span(), pieces, &["delete match arm".to_owned()]);
            }
        }
    }

    /// A function that returns at once.
    fn body(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let values = values_of(&signature.output);
        if values.is_empty() || block.stmts.is_empty() {
            return;
        }
        let at = block.brace_token.span.open().byte_range().end;
        let text: String = values
            .iter()
            .enumerate()
            .map(|(n, value)| format!(" if {{{n}}} {{ return {value}; }}"))
            .collect();
        let whats: Vec<String> = values
            .iter()
            .map(|value| format!("return {value}"))
            .collect();
        let pieces = vec![piece(at..at, Side::Open, text)];
        let mut whole = Vec::new();
        std::mem::swap(&mut whole, &mut self.places);
        self.add(signature.ident.span(), pieces, &whats);
        whole.append(&mut self.places);
        self.places = whole;
    }

    fn in_function(&mut self, name: &syn::Ident, inside: impl FnOnce(&mut Self)) {
        self.function.push(name.to_string());
        inside(self);
        self.function.pop();
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            // Computed by the compiler, which asks no switch.
            syn::Item::Const(_) | syn::Item::Static(_) | syn::Item::Enum(_) => {}
            syn::Item::Mod(item) if is_test(&item.attrs) => {}
            syn::Item::Fn(item) if is_test(&item.attrs) => {}
            syn::Item::Impl(item) if is_test(&item.attrs) => {}
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.in_function(&item.sig.ident, |inner| {
            inner.body(&item.sig, &item.block);
            visit::visit_block(inner, &item.block);
        });
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        match item {
            syn::ImplItem::Fn(item) if is_test(&item.attrs) => {}
            syn::ImplItem::Fn(item) => self.in_function(&item.sig.ident, |inner| {
                inner.body(&item.sig, &item.block);
                visit::visit_block(inner, &item.block);
            }),
            _ => {}
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.in_function(&item.sig.ident, |inner| {
                inner.body(&item.sig, block);
                visit::visit_block(inner, block);
            });
        }
    }

    fn visit_stmt(&mut self, stmt: &'ast syn::Stmt) {
        // A call or an assignment whose value nobody uses can be left out.
        if let syn::Stmt::Expr(e, Some(semicolon)) = stmt
            && matches!(
                e,
                Expr::Assign(_) | Expr::Binary(_) | Expr::Call(_) | Expr::MethodCall(_)
            )
        {
            let start = stmt.span().byte_range().start;
            let end = semicolon.span().byte_range().end;
            let pieces = vec![
                piece(start..start, Side::Open, "if !{0} { "),
                piece(end..end, Side::Close, " }"),
            ];
            self.add(stmt.span(), pieces, &["delete statement".to_owned()]);
        }
        visit::visit_stmt(self, stmt);
    }

    fn visit_expr(&mut self, e: &'ast Expr) {
        match e {
            Expr::Binary(e) if is_compound(&e.op) => self.compound(e),
            Expr::Binary(e) => self.binary(e),
            Expr::Unary(e) if matches!(e.op, UnOp::Not(_)) => self.not(e),
            Expr::If(e) if is_opaque(&e.cond) => self.condition(&e.cond, "condition"),
            Expr::Match(e) => self.arms(e),
            Expr::Const(_) => return,
            // The length is the compiler's.
            Expr::Repeat(e) => return self.visit_expr(&e.expr),
            _ => {}
        }
        visit::visit_expr(self, e);
    }

    fn visit_pat(&mut self, pat: &'ast syn::Pat) {
        // Guards are all that is computed there.
        if let syn::Pat::Guard(pat) = pat {
            self.condition(&pat.guard, "guard");
            self.visit_expr(&pat.guard);
        }
    }

    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_path(&mut self, _: &'ast syn::Path) {}
}

fn piece(at: Range<usize>, side: Side, text: impl Into<String>) -> Piece {
    Piece {
        at,
        side,
        text: text.into(),
    }
}
