//! The file of `--model`: a node and the services that are to fit it. A wrong one
//! is refused with its line and the reason.

use std::fmt::Display;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

/// A node and its services.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What there is.
    pub node: Node,
    /// What is to run there.
    pub services: Vec<Service>,
}

/// What a node has.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// CPUs.
    pub cpus: f64,
    /// Memory, in bytes.
    pub memory: f64,
    /// Bytes a second that its disk does, if it has one.
    pub disk_rate: Option<f64>,
    /// The longest stall that a thread may see under its CPU limit, in nanoseconds.
    pub stall: f64,
}

/// Services that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// What they are called.
    pub name: String,
    /// How many there are, a group each.
    pub count: f64,
    /// Threads of one.
    pub threads: f64,
    /// CPUs that one uses on average.
    pub cpu: f64,
    /// Its `cpu.max`, in CPUs.
    pub cpu_limit: Option<f64>,
    /// Its working set, in bytes.
    pub memory: f64,
    /// Its `memory.max`, in bytes.
    pub memory_limit: Option<f64>,
    /// Bytes a second that one reads and writes.
    pub disk_rate: f64,
}

/// A model that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct ModelError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// The longest stall, where the model says none.
const STALL_MS: f64 = 100.0;
/// More of a thing than this is a slip of the hand.
const MOST: f64 = 1e6;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    node: Spanned<NodeTable>,
    #[serde(default)]
    service: Vec<Spanned<ServiceTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeTable {
    cpus: Spanned<f64>,
    memory: Spanned<String>,
    disk_rate: Option<Spanned<String>>,
    stall_ms: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceTable {
    name: Spanned<String>,
    count: Spanned<i64>,
    threads: Option<Spanned<i64>>,
    cpu: Spanned<f64>,
    cpu_limit: Option<Spanned<f64>>,
    memory: Spanned<String>,
    memory_limit: Option<Spanned<String>>,
    disk_rate: Option<Spanned<String>>,
}

impl FromStr for Model {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let source = Source(text);
        let file: File = toml::from_str(text).map_err(|it| {
            let at = it.span().map_or(text.len(), |it| it.start);
            source.error(at, it.message())
        })?;
        let node = source.node(file.node.get_ref())?;
        if file.service.is_empty() {
            return Err(source.error(text.len(), "there is no [[service]] to fit"));
        }
        let mut services: Vec<Service> = Vec::new();
        for table in &file.service {
            let service = source.service(table.get_ref())?;
            if services.iter().any(|it| it.name == service.name) {
                let name = &table.get_ref().name;
                return Err(source.error(
                    name.span().start,
                    format!("a second service is called {:?}", service.name),
                ));
            }
            services.push(service);
        }
        Ok(Self { node, services })
    }
}

/// The text, to find lines in.
struct Source<'a>(&'a str);

impl Source<'_> {
    fn error(&self, at: usize, reason: impl Display) -> ModelError {
        let before = &self.0.as_bytes()[..at.min(self.0.len())];
        let line = 1 + before.iter().filter(|it| **it == b'\n').count();
        // A parser's message may be of several lines.
        let reason = reason.to_string();
        let reason = reason.lines().next().unwrap_or("it makes no sense");
        ModelError { line, reason: crate::text::tidy(reason, 300) }
    }

    fn node(&self, table: &NodeTable) -> Result<Node, ModelError> {
        Ok(Node {
            cpus: self.positive("cpus", &table.cpus)?,
            memory: self.size("memory", &table.memory)?,
            disk_rate: table.disk_rate.as_ref().map(|it| self.size("disk_rate", it)).transpose()?,
            stall: match &table.stall_ms {
                Some(it) => self.positive("stall_ms", it)?,
                None => STALL_MS,
            } * 1e6,
        })
    }

    fn service(&self, table: &ServiceTable) -> Result<Service, ModelError> {
        let name = table.name.get_ref();
        if name.trim().is_empty() || name.chars().count() > 60 || name.chars().any(char::is_control)
        {
            return Err(self.error(
                table.name.span().start,
                "name has to be a word of 60 letters at the most",
            ));
        }
        let optional_size = |what, it: &Option<Spanned<String>>| {
            it.as_ref().map(|it| self.size(what, it)).transpose()
        };
        Ok(Service {
            name: name.trim().to_owned(),
            count: self.count("count", &table.count)?,
            threads: table.threads.as_ref().map_or(Ok(1.0), |it| self.count("threads", it))?,
            cpu: self.not_negative("cpu", &table.cpu)?,
            cpu_limit: table
                .cpu_limit
                .as_ref()
                .map(|it| self.positive("cpu_limit", it))
                .transpose()?,
            memory: self.size("memory", &table.memory)?,
            memory_limit: optional_size("memory_limit", &table.memory_limit)?,
            disk_rate: optional_size("disk_rate", &table.disk_rate)?.unwrap_or(0.0),
        })
    }

    fn positive(&self, what: &str, it: &Spanned<f64>) -> Result<f64, ModelError> {
        let number = self.not_negative(what, it)?;
        if number == 0.0 {
            return Err(self.error(it.span().start, format!("{what} is 0: it has to be more")));
        }
        Ok(number)
    }

    fn not_negative(&self, what: &str, it: &Spanned<f64>) -> Result<f64, ModelError> {
        let number = *it.get_ref();
        if !(0.0..=MOST).contains(&number) {
            let reason = format!("{what} is {number}: it has to be from 0 to {MOST}");
            return Err(self.error(it.span().start, reason));
        }
        Ok(number)
    }

    fn count(&self, what: &str, it: &Spanned<i64>) -> Result<f64, ModelError> {
        #[expect(clippy::cast_precision_loss, reason = "a million at the most")]
        let number = *it.get_ref() as f64;
        if !(1.0..=MOST).contains(&number) {
            let reason = format!("{what} is {}: it has to be from 1 to {MOST}", it.get_ref());
            return Err(self.error(it.span().start, reason));
        }
        Ok(number)
    }

    /// `256M` in bytes.
    fn size(&self, what: &str, it: &Spanned<String>) -> Result<f64, ModelError> {
        let text = it.get_ref().trim();
        let (digits, factor) = match text.char_indices().next_back() {
            Some((at, 'K')) => (&text[..at], 1024.0),
            Some((at, 'M')) => (&text[..at], 1_048_576.0),
            Some((at, 'G')) => (&text[..at], 1_073_741_824.0),
            Some((at, 'T')) => (&text[..at], 1_099_511_627_776.0),
            _ => (text, 1.0),
        };
        let number = digits.parse::<f64>().ok().map(|it| it * factor);
        number.filter(|it| (1.0..=1e18).contains(it)).ok_or_else(|| {
            let shown = crate::text::tidy(text, 40);
            self.error(it.span().start, format!("{what} is {shown:?}: write it as 256M or 16G"))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "[node]\ncpus = 8\nmemory = \"16G\"\ndisk_rate = \"200M\"\n\n\
        [[service]]\nname = \"web\"\ncount = 20\nthreads = 4\ncpu = 0.25\ncpu_limit = 1\n\
        memory = \"256M\"\nmemory_limit = \"320M\"\ndisk_rate = \"1M\"\n";

    #[test]
    fn a_model_reads() {
        let model: Model = GOOD.parse().unwrap();
        assert_eq!(model.node.memory, 16.0 * 1_073_741_824.0);
        assert_eq!(model.node.stall, 1e8);
        assert_eq!((model.services[0].count, model.services[0].cpu_limit), (20.0, Some(1.0)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, said) in [
            ("cpus = 8", "cpus = 0", "line 2: cpus is 0: it has to be more"),
            ("cpus = 8", "cpus = -1.5", "line 2: cpus is -1.5: it has to be from 0 to 1000000"),
            ("cpus = 8", "cpus = nan", "line 2: cpus is NaN: it has to be from 0 to 1000000"),
            ("\"16G\"", "\"lots\"", "line 3: memory is \"lots\": write it as 256M or 16G"),
            ("\"16G\"", "\"-1G\"", "line 3: memory is \"-1G\": write it as 256M or 16G"),
            ("count = 20", "count = 0", "line 8: count is 0: it has to be from 1 to 1000000"),
            (
                "name = \"web\"",
                "name = \"\"",
                "line 7: name has to be a word of 60 letters at the most",
            ),
        ] {
            let error = GOOD.replace(from, to).parse::<Model>().unwrap_err();
            assert_eq!(error.to_string(), said);
        }
        let line = |text: &str| text.parse::<Model>().unwrap_err().line;
        assert_eq!(line(&GOOD.replace("threads", "treads")), 9);
        assert_eq!(line(&GOOD.replace("cpus = 8", "cpus = \"eight\"")), 2);
        assert_eq!(line("[node\n"), 1);
        assert_eq!(line(&format!("{GOOD}{}", GOOD.split_once("\n\n").unwrap().1)), 16);
        let none = "[node]\ncpus = 1\nmemory = \"1G\"\n".parse::<Model>().unwrap_err();
        assert_eq!(none.reason, "there is no [[service]] to fit");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            if let Err(error) = text.parse::<Model>() {
                prop_assert!(error.line >= 1 && !error.reason.is_empty());
                prop_assert!(!error.reason.chars().any(char::is_control));
            }
        }
    }
}
