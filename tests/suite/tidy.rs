//! The rules of the house, enforced: who may import whom, how long a file and a function may be,
//! where `unsafe` may stand, and what the arithmetic crate must not do.

use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 70;

/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that may be longer, as (file, function, reason).
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// The storeys of the house, lowest first: a module imports from its own storey or from below.
const STOREYS: &[&[&str]] = &[
    &[
        "error",
        "file_kind",
        "limits",
        "mapped_file",
        "new_file",
        "paths",
        "printable",
        "read_file",
        "regular_file",
        "threads",
    ],
    &["gguf", "checkpoint"],
    &["model", "quantize", "tokenizer", "hub"],
    &["convert", "runtime", "chat", "eval"],
    &["cli"],
    &["bin"],
];

/// Modules that never meet, in either direction.
const STRANGERS: &[(&str, &str)] = &[("convert", "runtime"), ("gguf", "checkpoint"), ("convert", "chat")];

/// What the arithmetic crate does without outside its tests: files, threads, allocation.
const FORBIDDEN_IN_SIMD: &[&str] = &["fs", "io", "net", "thread", "process", "env", "Vec", "Box", "String"];

fn storey(module: &str) -> Option<usize> {
    STOREYS.iter().position(|modules| modules.contains(&module))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, as (path relative to the root, text).
pub(crate) fn rust_files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no Rust files below {folder}");
    found.sort();
    found
}

pub(crate) fn parse(name: &str, text: &str) -> syn::File {
    syn::parse_file(text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

pub(crate) fn is_test(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("test")
            || attr.path().is_ident("cfg")
                && attr.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

/// Collects the paths a file names (imports as well as paths in code), outside its tests.
#[derive(Default)]
pub(crate) struct Paths {
    found: Vec<Vec<String>>,
}

impl Paths {
    pub(crate) fn of(file: &syn::File) -> Vec<Vec<String>> {
        let mut paths = Self::default();
        paths.visit_file(file);
        paths.found
    }

    fn add_use(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_use(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.found.push(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.found.push(with(&rename.ident)),
            syn::UseTree::Glob(_) => self.found.push(prefix.to_vec()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.add_use(prefix, item)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.found.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

/// Collects the length of every function.
#[derive(Default)]
struct Functions {
    found: Vec<(String, usize)>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let lines = block.span().end().line - signature.span().start().line + 1;
        self.found.push((signature.ident.to_string(), lines));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

/// Which module a file of the root crate belongs to: the first folder or file name below `src`.
fn module_of(name: &str) -> &str {
    let below = name.strip_prefix("src/").expect("a file of the root crate");
    below.split('/').next().unwrap().trim_end_matches(".rs")
}

#[test]
fn imports_point_downwards() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files("src") {
        let here = module_of(&name);
        if here == "lib" {
            continue;
        }
        let own = storey(here).unwrap_or_else(|| panic!("{name}: module {here} has no storey; add it"));
        for path in Paths::of(&parse(&name, &text)) {
            if !matches!(path[0].as_str(), "crate" | "gguf_kit") {
                continue;
            }
            let Some(there) = path.get(1) else { continue };
            // `crate::Result` and `crate::Error` are re-exports of the lowest storey.
            let level = storey(there).unwrap_or(0);
            let strangers = STRANGERS
                .iter()
                .any(|&(a, b)| (here, there.as_str()) == (a, b) || (here, there.as_str()) == (b, a));
            if level > own || strangers {
                wrong.push(format!("{name} imports {}", path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the order of the house:\n{}", wrong.join("\n"));
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for (name, text) in ["src", "simd", "tests"].iter().flat_map(|folder| rust_files(folder)) {
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES && !LONG_FILES.iter().any(|&(file, _)| file == name) {
            wrong.push(format!("{name}: {lines} lines"));
        }
        let mut functions = Functions::default();
        functions.visit_file(&parse(&name, &text));
        for (function, lines) in functions.found {
            let excused = LONG_FUNCTIONS.iter().any(|&(file, f, _)| file == name && f == function);
            if lines > MAX_FUNCTION_LINES && !excused {
                wrong.push(format!("{name}: fn {function}: {lines} lines"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "longer than {MAX_FILE_LINES} or {MAX_FUNCTION_LINES} lines:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn unsafe_code_of_the_root_crate_stands_where_it_is_allowed() {
    let allowed = |name: &str| matches!(module_of(name), "mapped_file" | "threads");
    for (name, text) in rust_files("src") {
        let permits = text.contains("allow(unsafe_code");
        assert!(
            !permits || allowed(&name),
            "{name} allows unsafe code; it belongs in mapped_file or threads"
        );
    }
}

#[test]
fn arithmetic_crate_does_no_io_and_allocates_nothing() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files("simd/src") {
        if name.ends_with("/tests.rs") || name.contains("/tests/") {
            continue;
        }
        for path in Paths::of(&parse(&name, &text)) {
            let standard = matches!(path[0].as_str(), "std" | "alloc");
            let forbidden = |segment: &String| FORBIDDEN_IN_SIMD.contains(&segment.as_str());
            if (standard && path.iter().any(forbidden)) || (path.len() <= 2 && forbidden(&path[0])) {
                wrong.push(format!("{name} names {}", path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "not for the arithmetic crate:\n{}", wrong.join("\n"));
}
