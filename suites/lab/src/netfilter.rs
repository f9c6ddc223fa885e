//! Rules of nf_tables that count packets, by netlink: there is no nft in the
//! guest.
//!
//! It knows what a packet can be told by, and no interface file. A base chain of
//! its own for each rule keeps one from hiding packets from the next.

use std::cell::Cell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{read, write};

use crate::case::Lab;
use crate::kernel::figure;
use crate::stop::Stop;

/// By what a packet is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Nothing: every packet is counted.
    Nothing,
    /// The net_cls class of the socket that sends it (`meta cgroup`).
    Class(u32),
    /// The same by xt_cgroup (`--cgroup`).
    XtClass(u32),
    /// Its priority (`meta priority`).
    Priority(u32),
    /// The unified group of its socket, this one or any below, by path
    /// (xt_cgroup, `--path`).
    XtPath(String),
    /// The ancestor of its socket's unified group at this level, by its number
    /// (`socket cgroupv2`).
    Ancestor {
        /// 1 for the root's children.
        level: u32,
        /// The inode's number of the group's directory.
        id: u64,
    },
}

impl By {
    /// What a kernel needs for it.
    fn needs(&self) -> &'static str {
        match self {
            Self::XtClass(_) | Self::XtPath(_) => {
                "xt_cgroup for nf_tables (CONFIG_NETFILTER_XT_MATCH_CGROUP, CONFIG_NFT_COMPAT)"
            }
            Self::Ancestor { .. } => {
                "nf_tables that knows unified groups (CONFIG_NFT_SOCKET, since 5.13)"
            }
            _ => "nf_tables (CONFIG_NF_TABLES_IPV4)",
        }
    }

    fn expressions(&self) -> Vec<u8> {
        const PRIORITY: u32 = 2;
        const CGROUP: u32 = 23;
        match self {
            Self::Nothing => Vec::new(),
            Self::Class(class) => equals(meta(CGROUP), &class.to_ne_bytes()),
            Self::Priority(priority) => equals(meta(PRIORITY), &priority.to_ne_bytes()),
            Self::Ancestor { level, id } => equals(ancestor(*level), &id.to_ne_bytes()),
            Self::XtClass(class) => xt_cgroup(None, *class),
            Self::XtPath(path) => xt_cgroup(Some(path), 0),
        }
    }
}

/// Where on its way a packet is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// When it has come for a socket of this machine.
    Input = 1,
    /// When a socket of this machine has sent it.
    Output = 3,
}

/// A rule that counts; gone with its table when the machine ends.
#[derive(Debug)]
pub struct Rule {
    chain: String,
}

const TABLE: &str = "cgauge";

thread_local! {
    static RULES: Cell<u32> = const { Cell::new(0) };
}

impl Lab {
    /// Counts packets that `by` fits from now on. Skips the case on a kernel that
    /// cannot.
    pub fn counts_packets(&self, hook: Hook, by: &By) -> Result<Rule, Stop> {
        match Rule::new(hook, by) {
            Ok(rule) => Ok(rule),
            Err(Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP | Errno::ENOENT) => {
                Err(self.skip(&format!("this kernel has no {}", by.needs())))
            }
            Err(errno) => Err(Stop::broken("make a rule that counts packets")(errno)),
        }
    }
}

impl Rule {
    /// A rule for packets of IPv4, or why the kernel takes none.
    pub fn new(hook: Hook, by: &By) -> Result<Self, Errno> {
        const NEW_TABLE: u8 = 0;
        const NEW_CHAIN: u8 = 3;
        const NEW_RULE: u8 = 6;
        const ACCEPT: u32 = 1;
        let number = RULES.replace(RULES.get() + 1);
        let chain = format!("counts-{number}");
        let place =
            [attribute(1, &(hook as u32).to_be_bytes()), attribute(2, &0_u32.to_be_bytes())];
        let counter = expression("counter", &[]);
        let batch = [
            bound(0x10),
            message(NEW_TABLE, 0, &[string(1, TABLE)]),
            message(
                NEW_CHAIN,
                0,
                &[
                    string(1, TABLE),
                    string(3, &chain),
                    attribute(4, &place.concat()),
                    attribute(5, &ACCEPT.to_be_bytes()),
                    string(7, "filter"),
                ],
            ),
            message(
                NEW_RULE,
                ACK,
                &[
                    string(1, TABLE),
                    string(2, &chain),
                    attribute(4, &[by.expressions(), counter].concat()),
                ],
            ),
            bound(0x11),
        ];
        let socket = Netlink::open()?;
        socket.send(&batch.concat())?;
        socket.answer()?;
        Ok(Self { chain })
    }

    /// How many packets it has counted.
    pub fn packets(&self) -> Result<u64, Stop> {
        let broken = Stop::broken("read a rule's counter");
        let packets = self.counted().map_err(broken)?;
        Ok(figure("nf_tables counter", packets))
    }

    fn counted(&self) -> Result<u64, Errno> {
        const GET_RULE: u8 = 7;
        const DUMP: u16 = 0x300;
        let socket = Netlink::open()?;
        socket.send(&message(GET_RULE, DUMP, &[string(1, TABLE), string(2, &self.chain)]))?;
        let mut found = Err(Errno::ENOENT);
        for rule in socket.dump()? {
            // nfgenmsg first.
            let rule = attributes(rule.get(4..).unwrap_or_default());
            let text = |it: &[u8]| String::from_utf8_lossy(it).trim_end_matches('\0').to_owned();
            if value(&rule, 2).map(text).as_deref() != Some(&self.chain) {
                continue;
            }
            for element in attributes(value(&rule, 4).unwrap_or_default()) {
                let element = attributes(element.1);
                if value(&element, 1).map(text).as_deref() == Some("counter") {
                    let data = attributes(value(&element, 2).unwrap_or_default());
                    let packets = value(&data, 2).and_then(|it| it.try_into().ok());
                    found = packets.map(u64::from_be_bytes).ok_or(Errno::EPROTO);
                }
            }
        }
        found
    }
}

// Expressions, linux/netfilter/nf_tables.h. What one finds is in register 1.

const REGISTER: [u8; 4] = 1_u32.to_be_bytes();

fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    attribute(1, &[string(1, name), attribute(2, &data.concat())].concat())
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[attribute(1, &REGISTER), attribute(2, &key.to_be_bytes())])
}

fn ancestor(level: u32) -> Vec<u8> {
    const CGROUPV2: u32 = 3;
    expression(
        "socket",
        &[
            attribute(1, &CGROUPV2.to_be_bytes()),
            attribute(2, &REGISTER),
            attribute(3, &level.to_be_bytes()),
        ],
    )
}

/// Goes on only if what was found equals `bytes`.
fn equals(finds: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    const EQUAL: [u8; 4] = 0_u32.to_be_bytes();
    let data = attribute(1, bytes);
    let compared =
        expression("cmp", &[attribute(1, &REGISTER), attribute(2, &EQUAL), attribute(3, &data)]);
    [finds, compared].concat()
}

/// Revision 2 of `linux/netfilter/xt_cgroup.h`: flags, a path or a class, and a
/// pointer of the kernel's.
fn xt_cgroup(path: Option<&str>, class: u32) -> Vec<u8> {
    const PATH_BYTES: usize = 512;
    let mut info = vec![0; 4 + PATH_BYTES + 4 + 8];
    match path {
        Some(path) => {
            info[0] = 1;
            info[4..4 + path.len().min(PATH_BYTES - 1)]
                .copy_from_slice(&path.as_bytes()[..path.len().min(PATH_BYTES - 1)]);
        }
        None => {
            info[1] = 1;
            info[4..8].copy_from_slice(&class.to_ne_bytes());
        }
    }
    expression(
        "match",
        &[string(1, "cgroup"), attribute(2, &2_u32.to_be_bytes()), attribute(3, &info)],
    )
}

// Netlink, linux/netlink.h and linux/netfilter/nfnetlink.h.

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const NF_TABLES: u8 = 10;
const IPV4: u8 = 2;
const HEADER: usize = 16;

/// A netlink message: its header, nfgenmsg, attributes.
fn raw(kind: u16, flags: u16, family: u8, resource: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    let payload = attributes.concat();
    let mut bytes = Vec::new();
    bytes.extend(((HEADER + 4 + payload.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]); // sequence and port
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn message(kind: u8, flags: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    let kind = u16::from(NF_TABLES) << 8 | u16::from(kind);
    raw(kind, CREATE | flags, IPV4, 0, attributes)
}

/// The beginning or the end of what is done as a whole.
fn bound(kind: u16) -> Vec<u8> {
    raw(kind, 0, 0, u16::from(NF_TABLES), &[])
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = Vec::from((length as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

fn string(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, format!("{text}\0").as_bytes())
}

/// Attributes by their kind, without the flags in it.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let [a, b, c, d, ..] = *bytes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = bytes.get(4..length) else { break };
        found.push((u16::from_ne_bytes([c, d]) & 0x3fff, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn value<'a>(attributes: &[(u16, &'a [u8])], kind: u16) -> Option<&'a [u8]> {
    attributes.iter().find(|it| it.0 == kind).map(|it| it.1)
}

struct Netlink(OwnedFd);

impl Netlink {
    fn open() -> Result<Self, Errno> {
        const NETFILTER: i32 = 12;
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: integers alone.
        let fd = Errno::result(unsafe { libc::socket(libc::AF_NETLINK, kind, NETFILTER) })?;
        // SAFETY: the kernel just made it, and nobody else has it.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        // An answer in time, or EAGAIN.
        let patience = libc::timeval { tv_sec: 5, tv_usec: 0 };
        // SAFETY: the value is as long as is said.
        Errno::result(unsafe {
            libc::setsockopt(
                socket.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const patience).cast(),
                size_of::<libc::timeval>() as u32,
            )
        })?;
        Ok(socket)
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        write(&self.0, bytes).map(drop)
    }

    /// The messages of the next datagram: their kind, and what is behind the header.
    fn receive(&self) -> Result<Vec<(u16, Vec<u8>)>, Errno> {
        let mut buffer = vec![0; 1 << 16];
        let length = read(&self.0, &mut buffer)?;
        let mut rest = &buffer[..length];
        let mut found = Vec::new();
        while let [a, b, c, d, e, f, ..] = *rest {
            let length = u32::from_ne_bytes([a, b, c, d]) as usize;
            let Some(payload) = rest.get(HEADER..length) else { break };
            found.push((u16::from_ne_bytes([e, f]), payload.to_vec()));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(found)
    }

    /// The first error, or that the last was done.
    fn answer(&self) -> Result<(), Errno> {
        const ERROR: u16 = 2;
        let messages = self.receive()?;
        let of_error = messages.iter().find(|it| it.0 == ERROR);
        let code = of_error.and_then(|it| it.1.get(..4)?.try_into().ok()).map(i32::from_ne_bytes);
        match code {
            Some(0) => Ok(()),
            Some(code) => Err(Errno::from_raw(-code)),
            None => Err(Errno::EPROTO),
        }
    }

    /// All messages of a dump.
    fn dump(&self) -> Result<Vec<Vec<u8>>, Errno> {
        const DONE: u16 = 3;
        let mut found = Vec::new();
        loop {
            for (kind, payload) in self.receive()? {
                if kind <= DONE {
                    return Ok(found);
                }
                found.push(payload);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_put() {
        let bytes = [string(1, "table"), attribute(0x8004, &[1, 2, 3, 4])].concat();
        assert_eq!(bytes.len(), 12 + 8);
        let found = attributes(&bytes);
        assert_eq!(value(&found, 1), Some(&b"table\0"[..]));
        assert_eq!(value(&found, 4), Some(&[1, 2, 3, 4][..]));
        assert_eq!(value(&found, 2), None);
    }

    #[test]
    fn a_cut_off_attribute_ends_the_list() {
        assert!(attributes(&[200, 0, 1, 0, 7]).is_empty());
        assert!(attributes(&[1, 0]).is_empty());
    }

    #[test]
    fn a_message_says_how_long_it_is() {
        let bytes = message(6, ACK, &[string(1, "cgauge")]);
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
        assert_eq!(bytes[4..6], 0x0a06_u16.to_ne_bytes());
    }
}
