//! What there is to run: suites, their cases, the promise that each checks and
//! the requirements that it names.
//!
//! The cases come from the test binaries themselves; promise and requirements
//! are read from the source, so that there is no second list to keep.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cgauge_record::{Driver, Hierarchy, Requirement};
use serde::Deserialize;
use syn::visit::Visit;

use crate::flags::Size;

/// The crates that hold suites: what for, where below the workspace's root, and
/// the package's name.
const SUITES: [(Kind, &str, &str); 3] = [
    (Kind::Conformance, "suites/conformance", "cgauge-conformance"),
    (Kind::Conformance, "suites/systemd", "cgauge-systemd"),
    (Kind::Benchmarks, "suites/benchmarks", "cgauge-benchmarks"),
];

/// What a suite is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To check promises: `run`.
    Conformance,
    /// To time operations: `bench`.
    Benchmarks,
}

/// A suite as its manifest and source describe it.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The test binary's name.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// The package that it is in.
    pub package: &'static str,
    /// What it needs of a machine.
    pub needs: Needs,
    /// What the source says of its cases, by the name of the function with its
    /// module: `freeze::freezing_is_inherited`.
    pub functions: BTreeMap<String, Function>,
}

/// What a suite needs of a machine: `[package.metadata.cgauge.NAME]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory, as `512M`.
    pub memory: String,
    /// Kernel modules to load before the first case, each with its parameters:
    /// `null_blk nr_devices=0`.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Memory nodes, among which memory is shared out evenly.
    #[serde(default = "one")]
    pub nodes: u32,
    /// Further words for the kernel's command line.
    #[serde(default)]
    pub boot: Vec<String>,
    /// The hierarchies that it is for, the one to run it on if nobody says first.
    #[serde(default = "unified")]
    pub hierarchies: Vec<Hierarchy>,
    /// The drivers that it is for, the one to run it with if nobody says first.
    #[serde(default = "cgroupfs")]
    pub drivers: Vec<Driver>,
    /// How the names of the cases begin that `--quick` runs; every case if empty.
    #[serde(default)]
    pub quick: Vec<String>,
    /// The functions or modules of cases that are safe and hold on a kernel with
    /// others on it, by their whole name, and how many CPUs they need.
    /// They touch nothing outside their own groups. Every other needs a kernel of
    /// its own.
    #[serde(default)]
    pub shared_kernel: BTreeMap<String, u32>,
    /// Whether `run` without a suite's name runs it.
    #[serde(default)]
    pub when: When,
}

fn unified() -> Vec<Hierarchy> {
    vec![Hierarchy::Unified]
}

fn cgroupfs() -> Vec<Driver> {
    vec![Driver::Cgroupfs]
}

fn one() -> u32 {
    1
}

/// When a suite runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Whenever no suite is named.
    #[default]
    Always,
    /// Only when it is named: it tests the harness, or its bounds are not settled.
    Named,
}

impl Needs {
    /// The memory in bytes.
    pub fn memory_bytes(&self) -> Result<u64> {
        let size: Size = self.memory.parse().map_err(anyhow::Error::msg)?;
        Ok(size.bytes)
    }
}

/// What the source says of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// The first sentence of its documentation.
    pub promise: String,
    /// The requirements that its checks name, sorted.
    pub requirements: Vec<Requirement>,
}

impl Suite {
    /// What the source says of the case with this full name.
    pub fn function(&self, case: &str) -> Function {
        self.function_name(case).map(|it| self.functions[it].clone()).unwrap_or_default()
    }

    /// The function that the case with this full name is a call of.
    pub fn function_name(&self, case: &str) -> Option<&String> {
        // Parameters follow as further parts of the name.
        let of_case = |it: &&String| {
            case.strip_prefix(it.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        self.functions.keys().filter(of_case).max_by_key(|it| it.len())
    }

    /// Whether `--quick` runs the case.
    pub fn is_quick(&self, case: &str) -> bool {
        self.needs.quick.is_empty() || self.needs.quick.iter().any(|it| case.starts_with(it))
    }
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    test: Vec<Target>,
    #[serde(default)]
    bench: Vec<Target>,
    package: Package,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    path: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    cgauge: BTreeMap<String, Needs>,
}

/// Reads every suite of the workspace, in the manifests' order.
pub fn read(workspace: &Path) -> Result<Vec<Suite>> {
    let mut suites = Vec::new();
    for (kind, folder, package) in SUITES {
        suites.extend(read_crate(&workspace.join(folder), kind, package)?);
    }
    Ok(suites)
}

fn read_crate(folder: &Path, kind: Kind, package: &'static str) -> Result<Vec<Suite>> {
    let path = folder.join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut manifest: Manifest =
        toml::from_str(&text).with_context(|| format!("read {}", path.display()))?;
    let mut suites = Vec::new();
    for target in manifest.test.into_iter().chain(manifest.bench) {
        let Some(needs) = manifest.package.metadata.cgauge.remove(&target.name) else {
            bail!("{} has no [package.metadata.cgauge.{}]", path.display(), target.name);
        };
        needs
            .memory_bytes()
            .with_context(|| format!("{}: suite {}", path.display(), target.name))?;
        let mut functions = BTreeMap::new();
        read_module(&folder.join(&target.path), "", &mut functions)?;
        suites.push(Suite { name: target.name, kind, package, needs, functions });
    }
    Ok(suites)
}

/// Reads the functions of a file and of the modules that it names, each a file
/// beside it.
fn read_module(path: &Path, prefix: &str, into: &mut BTreeMap<String, Function>) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let file = syn::parse_file(&text).with_context(|| format!("parse {}", path.display()))?;
    let mut all = Bodies::default();
    all.visit_file(&file);
    for item in &file.items {
        match item {
            syn::Item::Fn(function) if is_case(function) || is_benchmark(function) => {
                into.insert(format!("{prefix}{}", function.sig.ident), describe(function, &all));
            }
            syn::Item::Mod(module) if module.content.is_none() => {
                let name = module.ident.to_string();
                let beside = path.with_file_name(format!("{name}.rs"));
                read_module(&beside, &format!("{prefix}{name}::"), into)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_case(function: &syn::ItemFn) -> bool {
    function.attrs.iter().any(|it| it.path().is_ident("rstest"))
}

/// A benchmark takes what times it.
fn is_benchmark(function: &syn::ItemFn) -> bool {
    #[derive(Default)]
    struct Takes(bool);
    impl<'ast> Visit<'ast> for Takes {
        fn visit_ident(&mut self, ident: &'ast syn::Ident) {
            self.0 |= ident == "Timer";
        }
    }
    let mut takes = Takes::default();
    takes.visit_signature(&function.sig);
    takes.0
}

fn describe(function: &syn::ItemFn, all: &Bodies) -> Function {
    let lines = function.attrs.iter().filter_map(|it| match &it.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let paragraph: Vec<_> =
        lines.map(|it| it.trim().to_owned()).take_while(|it| !it.is_empty()).collect();
    let requirements = all.requirements_of(&function.sig.ident.to_string());
    Function { promise: first_sentence(&paragraph.join(" ")), requirements }
}

fn first_sentence(text: &str) -> String {
    let end = text.find(". ").map_or(text.len(), |it| it + 1);
    text[..end].to_owned()
}

/// The words in the body of each function and method of a file, by its name.
#[derive(Default)]
struct Bodies(BTreeMap<String, BTreeSet<String>>);

impl Bodies {
    /// The requirements that a function names, by itself or in a function of the
    /// same file that it uses.
    fn requirements_of(&self, function: &str) -> Vec<Requirement> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![function]);
        let mut found = BTreeSet::new();
        while let Some(name) = open.pop() {
            let Some(words) = self.0.get(name).filter(|_| seen.insert(name)) else {
                continue;
            };
            found.extend(words.iter().filter_map(|it| it.parse::<Requirement>().ok()));
            open.extend(words.iter().map(String::as_str));
        }
        found.into_iter().collect()
    }

    fn add(&mut self, name: &syn::Ident, body: &syn::Block) {
        let mut words = Words::default();
        words.visit_block(body);
        self.0.entry(name.to_string()).or_default().extend(words.0);
    }
}

impl<'ast> Visit<'ast> for Bodies {
    fn visit_item_fn(&mut self, it: &'ast syn::ItemFn) {
        self.add(&it.sig.ident, &it.block);
    }

    fn visit_impl_item_fn(&mut self, it: &'ast syn::ImplItemFn) {
        self.add(&it.sig.ident, &it.block);
    }
}

/// The identifiers of a piece of source.
#[derive(Default)]
struct Words(BTreeSet<String>);

impl<'ast> Visit<'ast> for Words {
    fn visit_ident(&mut self, ident: &'ast syn::Ident) {
        self.0.insert(ident.to_string());
    }
}

#[cfg(test)]
mod tests {
    use cgauge_record::ids::{R132, R135};

    use super::*;

    #[test]
    fn promise_and_requirements_are_read_from_the_source() {
        let file: syn::File = syn::parse_str(
            "/// A group never holds more. The second sentence is detail.\n\
             ///\n/// So is this.\n\
             #[rstest] fn f(lab: Lab) -> Outcome {\n\
             lab.check(\"x\").covers([R135]); check_more(lab); Ok(()) }\n\
             fn check_more(lab: Lab) { lab.check(\"y\").covers([R132]); }\n\
             fn of_another(lab: Lab) { lab.check(\"y\").covers([R001]); }",
        )
        .unwrap();
        let mut all = Bodies::default();
        all.visit_file(&file);
        let syn::Item::Fn(function) = &file.items[0] else { panic!("no function") };
        let described = describe(function, &all);
        assert_eq!(described.promise, "A group never holds more.");
        assert_eq!(described.requirements, [R132, R135]);
    }

    #[test]
    fn a_case_with_parameters_belongs_to_its_function() {
        let named =
            |promise: &str| Function { promise: promise.to_owned(), requirements: Vec::new() };
        let suite = Suite {
            name: "s".into(),
            kind: Kind::Conformance,
            package: "cgauge-conformance",
            needs: Needs {
                cpus: 1,
                memory: "1M".into(),
                modules: vec![],
                nodes: 1,
                boot: vec![],
                hierarchies: unified(),
                drivers: cgroupfs(),
                quick: vec![],
                shared_kernel: BTreeMap::new(),
                when: When::Always,
            },
            functions: [
                ("m::limit".to_owned(), named("a")),
                ("m::limit_two".to_owned(), named("b")),
            ]
            .into(),
        };
        assert_eq!(suite.function("m::limit::case_1").promise, "a");
        assert_eq!(suite.function("m::limit_two").promise, "b");
        assert_eq!(suite.function("m::lim").promise, "");
    }

    #[test]
    fn every_suite_of_this_workspace_reads() {
        let suites = read(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap();
        for suite in suites {
            // Of legacy controllers the list of promises has only some.
            let tests_the_list = suite.needs.when == When::Always
                && suite.kind == Kind::Conformance
                && suite.needs.hierarchies.contains(&Hierarchy::Unified);
            let without_promise: Vec<_> =
                suite.functions.iter().filter(|(_, it)| it.promise.is_empty()).collect();
            assert!(without_promise.is_empty(), "{}: {without_promise:?}", suite.name);
            for name in suite.needs.shared_kernel.keys() {
                let module = format!("{name}::");
                let is_there = |it: &String| it == name || it.starts_with(&module);
                let known = suite.functions.keys().any(is_there);
                assert!(known, "{}: shared_kernel names {name}, which is not there", suite.name);
            }
            let naming = suite.functions.values().filter(|it| !it.requirements.is_empty()).count();
            // Some name theirs in a table, which only a run can read.
            assert!(
                !tests_the_list || naming * 10 > suite.functions.len() * 9,
                "{}: more than one case in ten names no requirement",
                suite.name
            );
        }
    }
}
