//! A report in a real browser: it opens without a complaint, its filters and its
//! theme work by mouse and by keyboard, and nothing in a hostile run is executed.
//!
//! Chromium is driven over its debugging pipe. Where there is none the test says
//! so and is skipped; `CGAUGE_CHROMIUM` names one that is not in the path.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use cgauge_reports::{Format, Run};
use serde_json::{Value, json};

use super::build::{CONFIG, every_outcome};
use super::hostile::{SCRIPT, with_every_text};
use super::written;

/// How long the browser may take for one answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    last: u64,
    /// What it complained of: errors on the console, exceptions, dialogs.
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

/// The browser's name, if there is one that starts.
fn chromium() -> Option<String> {
    let named = std::env::var("CGAUGE_CHROMIUM").ok();
    let known = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    named.into_iter().chain(known).find(|it| {
        let version = Command::new(it).arg("--version").stderr(Stdio::null()).output();
        version.is_ok_and(|it| it.status.success())
    })
}

impl Browser {
    fn start(program: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // It takes commands on descriptor 3 and answers on 4.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh", program])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args(["--remote-debugging-pipe", "--window-size=1000,1000"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let (tell, messages) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        let mut it = Self {
            process,
            commands,
            messages,
            session: String::new(),
            last: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = it.ask("Target.createTarget", json!({"url": "about:blank"}));
        let attached = it
            .ask("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}));
        it.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            it.ask(domain, json!({}));
        }
        it
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = self.session.as_str().into();
        }
        self.commands.write_all(command.to_string().as_bytes()).unwrap();
        self.commands.write_all(&[0]).unwrap();
        self.commands.flush().unwrap();
        let id = self.last;
        let answer = self.wait(|it| it["id"] == id);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn wait(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.messages.recv_timeout(PATIENCE).expect("the browser says nothing");
            self.note(&message);
            if wanted(&message) {
                return message;
            }
        }
    }

    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        let complaint = match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" => true,
            "Runtime.consoleAPICalled" => parameters["type"] == "error",
            "Log.entryAdded" => parameters["entry"]["level"] == "error",
            _ => false,
        };
        if complaint {
            self.complaints.push(parameters.to_string());
        }
    }

    fn open(&mut self, path: &Path) {
        self.ask("Page.navigate", json!({"url": format!("file://{}", path.display())}));
        self.wait(|it| it["method"] == "Page.loadEventFired");
    }

    /// The value of an expression on the page.
    fn value(&mut self, expression: &str) -> Value {
        let answer =
            self.ask("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    fn key(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            self.ask(
                "Input.dispatchKeyEvent",
                json!({
                    "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
                    "text": if key == "Enter" { "\r" } else { "" },
                }),
            );
        }
    }

    /// Clicks in the middle of an element.
    fn click(&mut self, selector: &str) {
        let place = self.value(&format!(
            "(() => {{ const it = document.querySelector({selector:?}); it.scrollIntoView({{block: 'center'}});
               const box = it.getBoundingClientRect();
               return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            self.ask(
                "Input.dispatchMouseEvent",
                json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1}),
            );
        }
    }

    /// How many rows of the requirement table can be seen.
    fn rows(&mut self) -> u64 {
        let shown = "[...document.querySelectorAll('#requirements tbody tr:not(.head)')]\
            .filter((it) => it.getClientRects().length > 0).length";
        self.value(shown).as_u64().unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn page_of(run: &Run, directory: &Path, name: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, written(run, Format::Html)).unwrap();
    path
}

#[test]
fn a_report_works_in_a_browser() {
    let Some(program) = chromium() else {
        eprintln!("skipped a_report_works_in_a_browser: there is no chromium here");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let mut browser = Browser::start(&program);

    let good = page_of(&every_outcome(CONFIG).read(), directory.path(), "good.html");
    browser.open(&good);
    filters(&mut browser);
    themes(&mut browser, &good);

    let hostile = page_of(&with_every_text(SCRIPT), directory.path(), "hostile.html");
    browser.open(&hostile);
    assert_eq!(
        browser.value("document.querySelectorAll('script, img').length"),
        1,
        "our own script"
    );
    assert!(browser.rows() > 200, "the page is whole");

    assert_eq!(browser.complaints, Vec::<String>::new());
}

fn filters(browser: &mut Browser) {
    let all = browser.rows();
    assert_eq!(all, 214);
    browser.click("#requirements [value=broken]");
    assert_eq!(browser.rows(), 2, "R132 and S13 are broken");
    let status = "document.querySelector('#requirements [role=status]').textContent";
    assert_eq!(browser.value(status), "2 of 214 shown");
    // By keyboard: the next of the radio buttons.
    browser.key("ArrowRight", 39);
    assert_eq!(browser.value("document.activeElement.value"), "covered");
    assert_eq!(browser.rows(), 4);
    browser.click("#requirements input[type=search]");
    browser.ask("Input.insertText", json!({"text": "pids S13"}));
    assert_eq!(browser.rows(), 1);
    browser.value("document.activeElement.select()");
    browser.key("Backspace", 8);
    browser.click("#requirements [value=all]");
    assert_eq!(browser.rows(), all);
}

fn themes(browser: &mut Browser, page: &Path) {
    let colour = "getComputedStyle(document.body).backgroundColor";
    let label = "document.getElementById('theme').textContent";
    assert_eq!(browser.value(label), "Theme: auto");
    browser.click("#theme");
    assert_eq!(browser.value(label), "Theme: light");
    let light = browser.value(colour);
    // By keyboard, for the click left it focused.
    browser.key("Enter", 13);
    assert_eq!(browser.value(label), "Theme: dark");
    assert_ne!(browser.value(colour), light);
    // Pictures follow the theme, and the choice is kept.
    let ink = browser.value("getComputedStyle(document.querySelector('figure svg text')).fill");
    browser.open(page);
    assert_eq!(browser.value(label), "Theme: dark");
    assert_eq!(
        browser.value("getComputedStyle(document.querySelector('figure svg text')).fill"),
        ink
    );
}
