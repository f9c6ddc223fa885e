//! What `cgroup.type` shows and takes (cgroup-v2.rst, "Threads"): which groups
//! become threaded, what that makes of the groups above, beside and below, and
//! when it ends. The states are spelt as the file shows them, which is
//! `domain invalid` where the document's prose has parentheses.

use cgauge_lab::kernel::{Dir, Refusal};
use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;

/// How long an ended process may take to leave its group.
const PATIENCE: Duration = Duration::from_secs(2);

const TYPE_WRITE: &str = "cgroup_type_write(): the only word it takes is \"threaded\"";
pub(super) const INVALID: &str =
    "cgroup-v2.rst, Threads: an operation that fails for an invalid topology gives EOPNOTSUPP";

/// A group that becomes threaded makes its parent a threaded domain, and nothing above it.
#[rstest]
fn threaded_child_makes_its_parent_a_threaded_domain(lab: Lab) -> Outcome {
    let top = lab.group("top")?;
    let parent = top.make("parent")?;
    let child = parent.make("child")?;
    let sibling = parent.make("sibling")?;
    let groups = [&top, &parent, &child, &sibling];

    lab.interface("top, parent, child and sibling as made")
        .covers([R019])
        .file("cgroup.type")
        .observed(types(groups)?)
        .equals(
            "domain, domain, domain, domain",
            "cgroup-v2.rst, Threads: a new group is a domain",
        );
    lab.interface("the answer to threaded in the child")
        .covers([R019])
        .file("cgroup.type")
        .answered(&child.try_set("cgroup.type", "threaded"))
        .equals("ok", "nobody is in the groups, and the parent enables no controller");
    lab.hierarchy("top, parent, child and sibling with a threaded child")
        .covers([R019, R020])
        .file("cgroup.type")
        .observed(types(groups)?)
        .equals(
            "domain, domain threaded, threaded, domain invalid",
            "the child's parent is its resource domain now, and a threaded domain has no domains below it",
        );
    lab.interface("the answer to threaded in the threaded child")
        .covers([R019])
        .file("cgroup.type")
        .answered(&child.try_set("cgroup.type", "threaded"))
        .equals("ok", "cgroup_enable_threaded() does nothing for a threaded group");
    Ok(())
}

/// A group with processes and threaded controllers for its children is a threaded domain while it has both.
#[rstest]
fn threaded_controllers_beside_processes_make_a_threaded_domain(
    lab: Lab,
    #[values("cpu", "pids")] controller: &str,
) -> Outcome {
    let domain = lab.group("domain")?;
    let state = |what: &str, expected: &str, reason: &str| -> Outcome {
        lab.hierarchy(what)
            .covers([R019, R027])
            .file("cgroup.type")
            .observed(domain.line("cgroup.type")?)
            .equals(expected, reason);
        Ok(())
    };

    domain.enable(controller)?;
    state("the type with the controller alone", "domain", "no process competes with a child")?;
    let process = domain.sleeper()?;
    state(
        "the type with the controller and a process",
        "domain threaded",
        "cgroup-v2.rst, Threads: threaded controllers enabled while there are processes",
    )?;
    domain.set("cgroup.subtree_control", format!("-{controller}"))?;
    state("the type with the process alone", "domain", "the condition cleared")?;
    domain.enable(controller)?;
    state("the type with both again", "domain threaded", "the condition holds again")?;
    process.end()?;
    let reverted =
        wait_until(PATIENCE, || domain.try_get("cgroup.type").is_ok_and(|it| it == "domain\n"));
    lab.hierarchy("whether the type went back to domain when the process had ended")
        .covers([R027])
        .file("cgroup.type")
        .happened(reverted)
        .equals("yes", "the condition cleared");
    Ok(())
}

/// A new group below a threaded one is invalid and of no use until it is made threaded, too.
#[rstest]
fn domain_inside_a_threaded_subtree_is_of_no_use(
    lab: Lab,
    #[values("threaded domain", "threaded group")] below: &str,
) -> Outcome {
    let domain = lab.group("domain")?;
    domain.enable("pids")?;
    let threaded = domain.make("threaded")?;
    threaded.set("cgroup.type", "threaded")?;
    threaded.enable("pids")?;
    let parent = if below == "threaded domain" { &domain } else { &threaded };
    let group = parent.make("new")?;
    let process = parent.sleeper()?;
    let answered =
        |what: &str, file: &str, answer: &Result<(), Refusal>, expected: &str, reason: &str| {
            lab.hierarchy(what).covers([R020]).file(file).answered(answer).equals(expected, reason);
        };
    let write = |what: &str, file: &str, text: &str, expected: &str, reason: &str| {
        answered(what, file, &group.try_set(file, text), expected, reason);
    };

    lab.interface("the type of the new group")
        .covers([R020])
        .file("cgroup.type")
        .observed(group.get("cgroup.type")?)
        .equals(
            "domain invalid\n",
            "cgroup_type_show(); the document's prose has \"domain (invalid)\"",
        );
    let pid = process.pid().to_string();
    write(
        "the answer to a process's move into the new group",
        "cgroup.procs",
        &pid,
        "EOPNOTSUPP",
        INVALID,
    );
    write(
        "the answer to a thread's move into the new group",
        "cgroup.threads",
        &pid,
        "EOPNOTSUPP",
        INVALID,
    );
    answered(
        "the answer to a start in the new group",
        "",
        &group.try_spawn(|| ())?.map(drop),
        "EOPNOTSUPP",
        INVALID,
    );
    write(
        "the answer to a controller in the new group",
        "cgroup.subtree_control",
        "+pids",
        "EOPNOTSUPP",
        INVALID,
    );

    let mended = "cgroup-v2.rst, Threads: an invalid group may become threaded";
    write("the answer to threaded in the new group", "cgroup.type", "threaded", "ok", mended);
    let works = "the group is a part of the threaded domain now";
    write(
        "the answer to a controller once it is threaded",
        "cgroup.subtree_control",
        "+pids",
        "ok",
        works,
    );
    write("the answer to a thread's move once it is threaded", "cgroup.threads", &pid, "ok", works);
    write("the answer to a process's move once it is threaded", "cgroup.procs", &pid, "ok", works);
    answered(
        "the answer to a start once it is threaded",
        "",
        &group.try_spawn(|| ())?.map(drop),
        "ok",
        works,
    );
    Ok(())
}

/// A threaded group stays threaded: `cgroup.type` takes no other word.
#[rstest]
fn threaded_is_for_good(
    lab: Lab,
    #[values("domain", "domain threaded", "domain invalid", "thread", "1")] word: &str,
) -> Outcome {
    let domain = lab.group("domain")?;
    let threaded = domain.make("threaded")?;
    let refused = |what: &str, group: &Group| {
        lab.interface(what)
            .covers([R021])
            .file("cgroup.type")
            .answered(&group.try_set("cgroup.type", word))
            .equals("EINVAL", TYPE_WRITE);
    };

    refused("the answer to the word in a domain", &threaded);
    threaded.set("cgroup.type", "threaded")?;
    refused("the answer to the word in a threaded group", &threaded);
    refused("the answer to the word in a threaded domain", &domain);
    lab.interface("domain and threaded group after the refusals")
        .covers([R021])
        .file("cgroup.type")
        .observed(types([&domain, &threaded])?)
        .equals(
            "domain threaded, threaded",
            "cgroup-v2.rst, Threads: what is threaded cannot be made a domain again",
        );
    Ok(())
}

/// A parent that enables a domain controller cannot have threaded children.
#[rstest]
fn parent_with_domain_controllers_refuses_threaded(
    lab: Lab,
    #[values("memory", "io", "memory pids")] controllers: &str,
) -> Outcome {
    let parent = lab.group("parent")?;
    let child = parent.make("child")?;
    let answer = |what: &str, expected: &str, reason: &str| {
        lab.hierarchy(what)
            .covers([R022])
            .file("cgroup.type")
            .answered(&child.try_set("cgroup.type", "threaded"))
            .equals(expected, reason);
    };

    parent.enable(controllers)?;
    answer("the answer to threaded below domain controllers", "EOPNOTSUPP", INVALID);
    lab.hierarchy("parent and child after the refusal")
        .covers([R022])
        .file("cgroup.type")
        .observed(types([&parent, &child])?)
        .equals("domain, domain", "a refused write changes nothing");
    let domain_controllers: Vec<_> =
        controllers.split(' ').filter(|it| *it != "pids").map(|it| format!("-{it}")).collect();
    parent.set("cgroup.subtree_control", domain_controllers.join(" "))?;
    answer(
        "the answer to threaded without domain controllers",
        "ok",
        "threaded controllers are no hindrance",
    );
    Ok(())
}

/// A parent with processes in a domain below it cannot have threaded children; its own processes do not matter.
#[rstest]
#[case::in_the_child_itself("child")]
#[case::in_a_sibling("sibling")]
#[case::in_a_siblings_child("sibling/below")]
fn parent_with_populated_domains_refuses_threaded(lab: Lab, #[case] place: &str) -> Outcome {
    let parent = lab.group("parent")?;
    let (child, sibling) = (parent.make("child")?, parent.make("sibling")?);
    let below = sibling.make("below")?;
    let populated = match place {
        "child" => &child,
        "sibling" => &sibling,
        _ => &below,
    };
    let answer = |what: &str, expected: &str, reason: &str| {
        lab.hierarchy(what)
            .covers([R022])
            .file("cgroup.type")
            .answered(&child.try_set("cgroup.type", "threaded"))
            .equals(expected, reason);
    };

    let process = populated.sleeper()?;
    answer("the answer to threaded with a process in a domain", "EOPNOTSUPP", INVALID);
    lab.hierarchy("parent and child after the refusal")
        .covers([R022])
        .file("cgroup.type")
        .observed(types([&parent, &child])?)
        .equals("domain, domain", "a refused write changes nothing");
    parent.admit(process.pid())?;
    answer(
        "the answer to threaded with the process in the parent",
        "ok",
        "the parent is the processes' resource domain",
    );
    Ok(())
}

/// The hierarchy's root is exempt: it may have domain controllers, populated domains and threaded groups below it.
#[rstest]
fn the_root_is_parent_to_domains_and_threaded_groups_alike(lab: Lab) -> Outcome {
    let path = lab.root().dir().path().parent().unwrap_or(lab.root().dir().path()).to_path_buf();
    let root = Dir::open(path).map_err(|it| Stop::Broken(it.to_string()))?;
    if root.read("cgroup.type").is_ok() {
        return Err(lab.skip("this stage does not show the hierarchy's root"));
    }
    let _removed_at_the_end = Removed { parent: &root, name: "threaded" };
    let group = root.make("threaded").map_err(|it| Stop::Broken(it.to_string()))?;

    lab.hierarchy("the answer to threaded below the root")
        .covers([R022])
        .file("cgroup.type")
        .answered(&group.write("cgroup.type", "threaded"))
        .equals("ok", "cgroup-v2.rst, Threads: the root is exempt, and the case's own groups are populated domains");
    lab.hierarchy("the type of the populated domain beside it")
        .covers([R022])
        .file("cgroup.type")
        .observed(lab.root().line("cgroup.type")?)
        .equals("domain", "cgroup_is_valid_domain() overlooks a root that is parent to both");
    Ok(())
}

/// A threaded domain is a plain domain again when its last threaded child is gone.
#[rstest]
fn threaded_domain_reverts_with_its_last_threaded_child(lab: Lab) -> Outcome {
    let domain = lab.group("domain")?;
    let children = ["first", "second"].map(|name| domain.make(name));
    let [first, second] = children;
    let (first, second) = (first?, second?);
    let state = |what: &str, expected: &str, reason: &str| -> Outcome {
        lab.hierarchy(what)
            .covers([R027])
            .file("cgroup.type")
            .observed(domain.line("cgroup.type")?)
            .equals(expected, reason);
        Ok(())
    };

    first.set("cgroup.type", "threaded")?;
    second.set("cgroup.type", "threaded")?;
    let plain = domain.make("plain")?;
    drop(first);
    state(
        "the type with one of two threaded children left",
        "domain threaded",
        "a threaded child is left",
    )?;
    drop(second);
    state(
        "the type without a threaded child",
        "domain",
        "cgroup-v2.rst, Threads: it reverts when the conditions clear",
    )?;
    lab.hierarchy("the type of the child that was invalid")
        .covers([R020, R027])
        .file("cgroup.type")
        .observed(plain.line("cgroup.type")?)
        .equals("domain", "it is below a plain domain again");
    lab.hierarchy("the answer to enabling a domain controller again")
        .covers([R027])
        .file("cgroup.subtree_control")
        .answered(&domain.try_set("cgroup.subtree_control", "+memory"))
        .equals("ok", "it is a plain domain again");
    Ok(())
}

/// The types of the groups, in a list.
fn types<'a>(groups: impl IntoIterator<Item = &'a Group>) -> Result<String, Stop> {
    let types =
        groups.into_iter().map(|it| it.line("cgroup.type")).collect::<Result<Vec<_>, _>>()?;
    Ok(types.join(", "))
}

/// A group outside the case's own that is removed at the end.
struct Removed<'a> {
    parent: &'a Dir,
    name: &'a str,
}

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        // What will not go is found and named by the agent.
        let _ = self.parent.remove(self.name);
    }
}
