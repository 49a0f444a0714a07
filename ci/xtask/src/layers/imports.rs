//! The modules of a crate, and what they import of each other, read from its
//! source. Tests are left out: they may look wherever they like.

use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use proc_macro2::{Span, TokenStream, TokenTree};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree};

/// A module's path below the crate's root; empty for the root.
pub(super) type Module = Vec<String>;

/// One place in the source that names another module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// The file, as the repository names it, and the line.
    pub(super) place: String,
    /// The module that imports.
    pub(super) from: Module,
    /// The module that is imported, or has what is.
    pub(super) to: Module,
}

/// What is known of a crate.
#[derive(Clone, Debug, Default)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) modules: Vec<Module>,
    pub(super) imports: Vec<Import>,
}

/// A path in the source, not looked up yet.
struct Mention {
    place: String,
    from: Module,
    /// From the crate's root, or below `from`.
    path: Vec<String>,
}

impl Crate {
    /// Reads the crate in this folder of the repository.
    ///
    /// # Errors
    ///
    /// A file is missing or no Rust.
    pub(super) fn read(paths: &Paths, member: &str) -> Result<Self> {
        let src = paths.repo(member).join("src");
        let root = ["main.rs", "lib.rs"]
            .iter()
            .map(|name| src.join(name))
            .find(|file| file.exists())
            .with_context(|| format!("{member} has neither src/main.rs nor src/lib.rs"))?;
        let mut reader = Reader::default();
        reader.file(&paths.root, &root, &src, &Module::new())?;
        Ok(reader.finish(member))
    }

    /// The same of sources in memory: module path and text of each.
    #[cfg(test)]
    pub(super) fn of(sources: &[(&str, &str)]) -> Self {
        let mut reader = Reader::default();
        for (path, text) in sources {
            let module: Module = path
                .split("::")
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect();
            let name = format!("{}.rs", module.join("/"));
            let file = syn::parse_file(text).expect("parses");
            reader.items(&name, &module, &file.items);
        }
        reader.finish("a-crate")
    }
}

#[derive(Default)]
struct Reader {
    modules: Vec<Module>,
    mentions: Vec<Mention>,
}

impl Reader {
    /// Reads a module's file, and those of the modules in it, which lie in
    /// `folder`.
    fn file(&mut self, root: &Path, file: &Path, folder: &Path, module: &Module) -> Result<()> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let name = file
            .strip_prefix(root)
            .unwrap_or(file)
            .display()
            .to_string();
        let parsed = syn::parse_file(&text).with_context(|| format!("{name} is no Rust"))?;
        for child in self.items(&name, module, &parsed.items) {
            let Some(last) = child.last() else { continue };
            let inside = child[module.len()..].iter().collect::<PathBuf>();
            let candidates = [
                folder.join(&inside).with_extension("rs"),
                folder.join(&inside).join("mod.rs"),
            ];
            let Some(found) = candidates.iter().find(|path| path.exists()) else {
                bail!("{name} declares the module {last}, which has no file");
            };
            self.file(root, found, &folder.join(&inside), &child)?;
        }
        Ok(())
    }

    /// Notes a module with what it mentions; the modules that have files of
    /// their own.
    fn items(&mut self, name: &str, module: &Module, items: &[Item]) -> Vec<Module> {
        self.modules.push(module.clone());
        let mut visitor = Mentions {
            name,
            module,
            scope: module.clone(),
            files: Vec::new(),
            found: Vec::new(),
        };
        items.iter().for_each(|item| visitor.visit_item(item));
        let Mentions { files, found, .. } = visitor;
        self.mentions.extend(found);
        files
    }

    fn finish(self, name: &str) -> Crate {
        let Self { modules, mentions } = self;
        let import = |mention: Mention| {
            let known = |len: &usize| modules.iter().any(|m| m[..] == mention.path[..*len]);
            let len = (0..=mention.path.len()).rev().find(known)?;
            let to = mention.path[..len].to_vec();
            (to != mention.from && !to.is_empty()).then_some(Import {
                place: mention.place,
                from: mention.from,
                to,
            })
        };
        let imports = mentions.into_iter().filter_map(import).collect();
        Crate {
            name: name.to_owned(),
            modules,
            imports,
        }
    }
}

/// Collects what one file mentions.
struct Mentions<'a> {
    name: &'a str,
    module: &'a Module,
    /// Where paths begin: the module, or one that is written inside of it.
    scope: Module,
    files: Vec<Module>,
    found: Vec<Mention>,
}

impl Mentions<'_> {
    /// Notes a path as it is written.
    fn mention(&mut self, parts: &[String], span: Span) {
        let mut path = self.scope.clone();
        let mut rest = parts;
        while let [first, tail @ ..] = rest {
            match first.as_str() {
                "crate" => path.clear(),
                "super" => drop(path.pop()),
                "self" => {}
                _ => break,
            }
            rest = tail;
        }
        path.extend(rest.iter().cloned());
        self.found.push(Mention {
            place: format!("{}:{}", self.name, span.start().line),
            from: self.module.clone(),
            path,
        });
    }

    fn tree(&mut self, parts: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                parts.push(path.ident.to_string());
                self.tree(parts, &path.tree);
                parts.pop();
            }
            UseTree::Name(name) => self.leaf(parts, &name.ident),
            UseTree::Rename(name) => self.leaf(parts, &name.ident),
            UseTree::Glob(glob) => {
                let span = glob.star_token.spans[0];
                self.mention(parts, span);
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(parts, tree)),
        }
    }

    fn leaf(&mut self, parts: &mut Vec<String>, ident: &syn::Ident) {
        parts.push(ident.to_string());
        self.mention(parts, ident.span());
        parts.pop();
    }

    /// Paths among the tokens of a macro, as far as they say where they begin.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<(String, Span)> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => {
                    path.push((ident.to_string(), ident.span()));
                    colons = 0;
                }
                TokenTree::Ident(ident) => {
                    self.close(&mut path);
                    colons = 0;
                    if ident == "crate" || ident == "super" {
                        path.push((ident.to_string(), ident.span()));
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.close(&mut path);
                    colons = 0;
                    self.tokens(group.stream());
                }
                _ => {
                    self.close(&mut path);
                    colons = 0;
                }
            }
        }
        self.close(&mut path);
    }

    fn close(&mut self, path: &mut Vec<(String, Span)>) {
        if let Some((_, span)) = path.first() {
            let span = *span;
            let parts: Vec<String> = path.drain(..).map(|(part, _)| part).collect();
            self.mention(&parts, span);
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if is_test(&item.attrs) {
            return;
        }
        self.scope.push(item.ident.to_string());
        match &item.content {
            None => self.files.push(self.scope.clone()),
            Some((_, items)) => items.iter().for_each(|item| self.visit_item(item)),
        }
        self.scope.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_test(&item.attrs) && item.leading_colon.is_none() {
            self.tree(&mut Vec::new(), &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            let parts: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
            self.mention(&parts, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(sources: &[(&str, &str)]) -> Vec<String> {
        let found = Crate::of(sources).imports;
        let show = |import: &Import| {
            format!(
                "{} {} -> {}",
                import.place,
                import.from.join("::"),
                import.to.join("::")
            )
        };
        found.iter().map(show).collect()
    }

    #[test]
    fn every_form_of_an_import_is_seen() {
        let source = "use crate::b;\n\
                      use crate::{c::{Thing, *}, b as other};\n\
                      use super::d::Item;\n\
                      fn f() { crate::b::call() }\n\
                      fn g(x: &crate::c::Type) { h!(crate::d::deep(1)) }";
        let crate_ = [("", ""), ("a", source), ("b", ""), ("c", ""), ("d", "")];
        let want = [
            "a.rs:1 a -> b",
            "a.rs:2 a -> c",
            "a.rs:2 a -> c",
            "a.rs:2 a -> b",
            "a.rs:3 a -> d",
            "a.rs:4 a -> b",
            "a.rs:5 a -> c",
            "a.rs:5 a -> d",
        ];
        assert_eq!(imports(&crate_), want);
    }

    #[test]
    fn own_modules_other_crates_and_tests_are_no_imports() {
        let source = "use std::fmt;\n\
                      use self::Thing;\n\
                      #[cfg(test)] mod tests { use crate::b::Fake; }\n\
                      #[cfg(test)] use crate::b::Other;";
        assert!(imports(&[("", ""), ("a", source), ("b", "")]).is_empty());
    }

    #[test]
    fn what_a_folder_has_belongs_to_its_deepest_module() {
        let source = "use super::sibling::Thing;\nuse crate::dev::pci::config::read;";
        let sources = [
            ("", ""),
            ("dev", ""),
            ("dev::pci", ""),
            ("dev::pci::config", ""),
            ("dev::iommu", source),
            ("dev::sibling", ""),
        ];
        let want = [
            "dev/iommu.rs:1 dev::iommu -> dev::sibling",
            "dev/iommu.rs:2 dev::iommu -> dev::pci::config",
        ];
        assert_eq!(imports(&sources), want);
    }
}
