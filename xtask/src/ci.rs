//! What a run says to the CI service that it runs in: annotations and a summary,
//! where GitHub's (or one that speaks its language) says that it listens.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use cgauge_reports::{Format, Run, render};

/// Tells the service what `environment` says it wants to hear; annotations go to
/// `out`, which is the job's log.
pub fn tell(
    run: &Run,
    environment: impl Fn(&str) -> Option<OsString>,
    out: &mut dyn Write,
) -> Result<()> {
    if environment("GITHUB_ACTIONS").is_some_and(|it| it == "true") {
        render(run, Format::Annotations, out)?;
    }
    if let Some(path) = environment("GITHUB_STEP_SUMMARY").map(PathBuf::from) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("the job's summary, {}", path.display()))?;
        render(run, Format::Markdown, &mut file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = concat!(
        r#"{"event":"run_start","schema":1,"run":"r","harness":"h","started":"","stage":"vm","accel":"tcg","clock":"virtual","hierarchy":"unified","driver":"cgroupfs","kernel":{"release":"6","version":"","config_sha256":""},"qemu":"7","cpus":1,"memory_bytes":1}"#,
        "\n",
        r#"{"event":"case_start","suite":"s","case":"c"}"#,
        "\n",
        r#"{"event":"check","suite":"s","case":"c","requirements":[],"kind":"interface","what":"w","file":"f","unit":"text","observed":"a","at_least":null,"at_most":null,"equals":"b","bound_reason":"","verdict":"fail"}"#,
        "\n",
        r#"{"event":"case_end","suite":"s","case":"c","outcome":"fail","reason":"w","elapsed_ns":1}"#,
        "\n",
        r#"{"event":"run_end","passed":0,"failed":1,"skipped":0,"errors":0,"inconclusive":0,"requirements_covered":0}"#,
        "\n",
    );

    #[test]
    fn only_a_service_that_listens_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("events.jsonl"), EVENTS).unwrap();
        let run = Run::read(folder.path()).unwrap();
        let mut silent = Vec::new();
        tell(&run, |_| None, &mut silent).unwrap();
        assert!(silent.is_empty());

        let summary = folder.path().join("summary");
        let github = |name: &str| match name {
            "GITHUB_ACTIONS" => Some("true".into()),
            "GITHUB_STEP_SUMMARY" => Some(summary.clone().into_os_string()),
            _ => None,
        };
        let mut log = Vec::new();
        tell(&run, github, &mut log).unwrap();
        tell(&run, github, &mut Vec::new()).unwrap();
        assert!(String::from_utf8(log).unwrap().starts_with("::error"));
        let written = std::fs::read_to_string(&summary).unwrap();
        // Appended: other steps of the job have their say as well.
        assert_eq!(written.matches("1 failed").count(), 2, "{written}");
    }
}
