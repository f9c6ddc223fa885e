//! The texts of the kernel's promises, from `suites/requirements.csv`, which is
//! compiled in. It must not know which of them a run covered.

use cgauge_record::Requirement;

/// One promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its id.
    pub id: Requirement,
    /// The section of the document that makes it.
    pub section: String,
    /// What is promised.
    pub promise: String,
}

impl Text {
    /// Where the promise is written down.
    #[must_use]
    pub fn document(&self) -> &'static str {
        match (self.id.to_string().starts_with('S'), self.section.starts_with("v1 ")) {
            (true, _) => "the seed list of cgauge",
            (false, true) => "Documentation/admin-guide/cgroup-v1",
            (false, false) => "Documentation/admin-guide/cgroup-v2.rst",
        }
    }
}

/// Every promise, in the file's order.
#[derive(Clone, Debug)]
pub struct Catalogue(Vec<Text>);

impl Catalogue {
    /// Reads the compiled-in file.
    #[must_use]
    pub fn load() -> Self {
        Self(parse(include_str!("../../suites/requirements.csv")))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Text> {
        self.0.iter()
    }

    /// What one of them promises; empty for one that the file lacks.
    #[must_use]
    pub fn promise(&self, id: Requirement) -> &str {
        self.find(id).map_or("", |it| it.promise.as_str())
    }

    /// The document that makes a promise, and its section.
    #[must_use]
    pub fn source(&self, id: Requirement) -> String {
        self.find(id).map_or(String::new(), |it| format!("{}, {}", it.document(), it.section))
    }

    fn find(&self, id: Requirement) -> Option<&Text> {
        self.0.iter().find(|it| it.id == id)
    }
}

/// Lines that name no requirement, the header among them, are left out; a test
/// sees to it that no other is.
fn parse(csv: &str) -> Vec<Text> {
    let texts = csv.lines().filter_map(|line| {
        let mut fields = fields(line).into_iter();
        let id = fields.next()?.parse().ok()?;
        Some(Text { id, section: fields.next()?, promise: fields.next()? })
    });
    texts.collect()
}

/// The fields of a line; a quoted one may hold commas and doubled quotes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(it) = characters.next() {
        let field = fields.last_mut().expect("there is always one");
        match it {
            '"' if quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use cgauge_record::ids;

    use super::*;

    #[test]
    fn every_requirement_has_its_text() {
        let catalogue = Catalogue::load();
        let ids: Vec<Requirement> = catalogue.iter().map(|it| it.id).collect();
        assert_eq!(ids, Requirement::all().collect::<Vec<_>>());
        assert!(catalogue.iter().all(|it| !it.section.is_empty() && !it.promise.is_empty()));
    }

    #[test]
    fn quoted_fields_keep_commas_and_quotes() {
        assert_eq!(fields(r#"R1,"a, b","""x"" y",,z"#), ["R1", "a, b", "\"x\" y", "", "z"]);
        let catalogue = Catalogue::load();
        assert_eq!(
            catalogue.promise(ids::R017),
            r#"" (deleted)" is appended for a zombie of a removed cgroup"#
        );
    }
}
