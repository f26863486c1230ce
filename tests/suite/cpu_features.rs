//! Instructions that not every CPU has are executed where something proves that this one has them.
//!
//! In `gguf-simd`, a function whose body names an instruction (an intrinsic, or assembly) is compiled for its
//! features (`#[target_feature]`), is `unsafe`, or takes the proof: a token of `isa/`, or a value that was made
//! with one, as an argument or as `self`. A safe function without any of these could be called on a CPU that
//! lacks the instruction.

use syn::visit::{self, Visit};

use crate::tidy::{is_test, parse, rust_files};

/// Files whose instructions every CPU of the architecture has, each with its reason.
const BASELINE: &[(&str, &str)] = &[
    ("simd/src/float_environment.rs", "MXCSR is SSE's, FPCR of every aarch64"),
    ("simd/src/isa/avx2.rs::prefetch", "SSE's prefetch"),
    ("simd/src/isa/avx2.rs::prefetch_later", "SSE's prefetch"),
    ("simd/src/isa/neon.rs::prefetch_later", "every aarch64's prefetch"),
    ("simd/src/wide/avx512.rs::prefetch_beyond", "SSE's prefetch"),
];

/// Functions that break the rule.
struct Unproved {
    file: String,
    found: Vec<String>,
}

impl Unproved {
    fn check(&mut self, attrs: &[syn::Attribute], signature: &syn::Signature, block: &syn::Block) {
        let has_features = attrs.iter().any(|attr| attr.path().is_ident("target_feature"));
        if has_features || signature.unsafety.is_some() || !names_an_instruction(block) {
            return;
        }
        let takes_proof = signature.inputs.iter().any(|input| match input {
            syn::FnArg::Receiver(_) => true,
            syn::FnArg::Typed(typed) => names_a_proof(&typed.ty),
        });
        let name = format!("{}::{}", self.file, signature.ident);
        let is_baseline = BASELINE.iter().any(|(place, _)| *place == self.file || *place == name);
        if !takes_proof && !is_baseline {
            self.found.push(name);
        }
    }
}

/// Whether a type is, or is made of, a token or vectors that hold one.
fn names_a_proof(ty: &syn::Type) -> bool {
    struct Proofs(bool);
    impl<'ast> Visit<'ast> for Proofs {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            let name = segment.ident.to_string();
            self.0 |= name == "Self" || name.starts_with("Avx") || name.starts_with("Neon");
            visit::visit_path_segment(self, segment);
        }
    }
    let mut proofs = Proofs(false);
    proofs.visit_type(ty);
    proofs.0
}

/// Whether a body calls an intrinsic or holds assembly; functions inside it are looked at on their own.
fn names_an_instruction(block: &syn::Block) -> bool {
    struct Instructions(bool);
    impl<'ast> Visit<'ast> for Instructions {
        fn visit_item_fn(&mut self, _: &'ast syn::ItemFn) {}

        fn visit_path(&mut self, path: &'ast syn::Path) {
            self.0 |= path.segments.last().is_some_and(|last| is_intrinsic(&last.ident.to_string()));
            visit::visit_path(self, path);
        }

        fn visit_macro(&mut self, item: &'ast syn::Macro) {
            self.0 |= item.path.is_ident("asm");
        }
    }
    let mut instructions = Instructions(false);
    instructions.visit_block(block);
    instructions.0
}

/// `_mm256_add_ps`, `vaddq_f32` and the like.
fn is_intrinsic(name: &str) -> bool {
    let element = name.rsplit('_').next().unwrap_or_default();
    let (kind, bits) = element.split_at_checked(1).unwrap_or(("", ""));
    let is_arm = name.starts_with('v') && matches!(kind, "s" | "u" | "f") && bits.parse::<u8>().is_ok();
    name.starts_with("_mm") || is_arm
}

impl<'ast> Visit<'ast> for Unproved {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.attrs, &item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.attrs, &item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

fn unproved(file: &str, text: &str) -> Vec<String> {
    let mut unproved = Unproved { file: file.to_owned(), found: Vec::new() };
    unproved.visit_file(&parse(file, text));
    unproved.found
}

#[test]
fn safe_functions_that_need_a_cpu_feature_take_its_proof() {
    let found: Vec<_> = rust_files("simd/src").iter().flat_map(|(file, text)| unproved(file, text)).collect();
    assert!(found.is_empty(), "nothing proves the CPU's features in:\n{}", found.join("\n"));
}

#[test]
fn a_safe_function_without_proof_is_found() {
    let text = "fn splat(x: f32) -> __m256 { unsafe { _mm256_set1_ps(x) } }
        fn proved(isa: Avx2, x: f32) -> __m256 { unsafe { _mm256_set1_ps(x) } }
        #[target_feature(enable = \"neon\")] fn featured() { vdupq_n_f32(0.0); }
        impl Tier for Unit { fn zero() -> float32x4_t { unsafe { vdupq_n_f32(0.0) } } }
        fn assembly() { unsafe { asm!(\"sdot\") } }
        fn plain() -> usize { values_of(3) }";
    assert_eq!(unproved("a.rs", text), ["a.rs::splat", "a.rs::zero", "a.rs::assembly"]);
}
