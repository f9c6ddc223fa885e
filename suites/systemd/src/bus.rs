//! systemd's manager object, over the system's message bus.
//!
//! The connection works only while a call is under way, on the case's own thread: a
//! case may fork at any time. The socket that PID 1 keeps for root would do without
//! the bus; but there it names itself as no bus would allow, and zbus, which goes by
//! the specification, refuses its answers.

use std::cell::RefCell;
use std::collections::BTreeSet;

use cgauge_lab::Stop;
use rstest::fixture;
use zbus::export::futures_core::Stream;
use zbus::message::Type;
use zbus::wire::{DynamicDeserialize, DynamicType};
use zbus::{
    Connection, DBusError, MatchRule, Message, MessageStream, ObjectPath, OwnedObjectPath,
    OwnedVariant,
};

use crate::unit::Property;

const NAME: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES_INTERFACE: &str = "org.freedesktop.DBus.Properties";

/// systemd's answer where it did not do as it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct Refused {
    /// The D-Bus name of the error.
    pub name: String,
    /// What systemd has to say about it.
    pub message: String,
}

impl From<zbus::Error> for Refused {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, message, _) => {
                Self { name: name.to_string(), message: message.unwrap_or_default() }
            }
            // The bus's own errors come as a type of their own.
            zbus::Error::FDO(error) => {
                Self { name: error.name().to_string(), message: error.to_string() }
            }
            other => Self { name: "the connection".to_owned(), message: other.to_string() },
        }
    }
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Broken(format!("systemd: {refused}"))
    }
}

/// A connection to PID 1.
#[derive(Debug)]
pub struct Systemd {
    connection: Connection,
    /// Units that the case asked for by name.
    asked_for: RefCell<BTreeSet<String>>,
}

/// systemd, for a case that takes it beside the lab.
///
/// # Panics
/// Where PID 1 is no systemd.
#[fixture]
pub fn systemd() -> Systemd {
    match Systemd::connect() {
        Ok(systemd) => systemd,
        Err(refused) => panic!("{refused}: run it with `cargo xtask run --driver systemd`"),
    }
}

impl Systemd {
    fn connect() -> Result<Self, Refused> {
        let systemd = Self {
            connection: zbus::block_on(Connection::system())?,
            asked_for: RefCell::default(),
        };
        // It sends signals to those alone who ask for them.
        systemd.ask::<_, ()>("Subscribe", &())?;
        Ok(systemd)
    }

    /// Its version: 252 of `252.39-1~deb12u1`.
    pub fn version(&self) -> Result<u32, Stop> {
        let text: String = self.property(MANAGER, MANAGER_INTERFACE, "Version")?;
        let digits = text.split(|it: char| !it.is_ascii_digit()).find(|it| !it.is_empty());
        digits
            .and_then(|it| it.parse().ok())
            .ok_or_else(|| Stop::Broken(format!("{text:?} is no version of systemd")))
    }

    /// Remembers that the case asked for this unit.
    pub(crate) fn note(&self, unit: &str) {
        self.asked_for.borrow_mut().insert(unit.to_owned());
    }

    /// Whether this is a slice that came with a unit in it.
    pub(crate) fn came_along(&self, slice: &str) -> bool {
        let of_the_machine = ["", "-.slice", "system.slice"].contains(&slice);
        !of_the_machine && !self.asked_for.borrow().contains(slice)
    }

    /// Asks the manager for something.
    pub(crate) fn ask<B, R>(&self, method: &str, body: &B) -> Result<R, Refused>
    where
        B: zbus::export::serde::Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        self.call(MANAGER, MANAGER_INTERFACE, method, body)
    }

    /// Asks the manager for a job, and waits until it is over.
    pub(crate) fn job<B>(&self, method: &str, body: &B) -> Result<(), Refused>
    where
        B: zbus::export::serde::Serialize + DynamicType,
    {
        // From before the call, for the job may be over before its answer is read.
        let mut signals = zbus::block_on(self.ends_of_jobs())?;
        let job: OwnedObjectPath = self.ask(method, body)?;
        loop {
            let signal = zbus::block_on(next(&mut signals));
            let signal = signal.ok_or_else(|| lost("the connection ended"))??;
            if let Some(result) = result_of(&signal, &job) {
                return match result.as_str() {
                    "done" => Ok(()),
                    other => Err(lost(&format!("the job of {method} ended with {other:?}"))),
                };
            }
        }
    }

    async fn ends_of_jobs(&self) -> zbus::Result<MessageStream> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .path(MANAGER)
            .interface(MANAGER_INTERFACE)
            .member("JobRemoved")
            .build()?;
        MessageStream::for_match_rule(rule, &self.connection, None).await
    }

    /// A property of an object.
    pub(crate) fn property<T>(&self, path: &str, interface: &str, name: &str) -> Result<T, Refused>
    where
        T: TryFrom<OwnedVariant>,
    {
        let value: OwnedVariant =
            self.call(path, PROPERTIES_INTERFACE, "Get", &(interface, name))?;
        T::try_from(value).map_err(|_| lost(&format!("{name} is of another type")))
    }

    /// Changes properties of a unit, until the next boot.
    pub fn set(&self, unit: &str, properties: &[Property<'_>]) -> Result<(), Refused> {
        self.ask("SetUnitProperties", &(unit, true, properties))
    }

    /// Has the manager read its files again.
    pub fn reload(&self) -> Result<(), Refused> {
        self.ask("Reload", &())
    }

    fn call<B, R>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<R, Refused>
    where
        B: zbus::export::serde::Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        let call = self.connection.call_method(Some(NAME), path, Some(interface), method, body);
        let answer = zbus::block_on(call)?;
        Ok(answer.body().deserialize()?)
    }
}

fn lost(message: &str) -> Refused {
    Refused { name: "systemd".to_owned(), message: message.to_owned() }
}

async fn next(stream: &mut MessageStream) -> Option<zbus::Result<Message>> {
    let mut stream = std::pin::pin!(stream);
    std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
}

/// How `job` ended, if the message says so.
fn result_of(message: &Message, job: &OwnedObjectPath) -> Option<String> {
    let header = message.header();
    let is_end = message.message_type() == Type::Signal
        && header.member().is_some_and(|it| it.as_str() == "JobRemoved");
    if !is_end {
        return None;
    }
    let body = message.body();
    let (_, ended, _, result): (u32, ObjectPath<'_>, String, String) = body.deserialize().ok()?;
    (ended == **job).then_some(result)
}
