//! Limits on the tree itself: `cgroup.max.descendants` and `cgroup.max.depth`
//! (cgroup-v2.rst, "Core Interface Files"). Nothing here needs a process.

use cgauge_lab::prelude::*;

const REFUSED: &str =
    "cgroup_mkdir(): EAGAIN where cgroup_check_hierarchy_limits() finds a limit reached";
const ROOM: &str = "the limit is not reached";

/// A group has at most `cgroup.max.descendants` groups below it: making one more fails with EAGAIN.
#[rstest]
fn descendants_stop_at_the_limit(lab: Lab, #[values(0, 1, 3, 17)] limit: usize) -> Outcome {
    let bounded = lab.group("bounded")?;
    bounded.set("cgroup.max.descendants", limit)?;
    let made: Vec<_> =
        (0..limit).map(|it| bounded.make(&format!("below-{it}"))).collect::<Result<_, _>>()?;
    let make = |what: &str, expected: &str, reason: &str| {
        // Removed again at once if the kernel made it.
        let answer = bounded.try_make("one-more").map(drop);
        lab.enforcement(what)
            .covers([R049])
            .file("cgroup.max.descendants")
            .answered(&answer)
            .equals(expected, reason);
    };

    lab.accounting("groups below at the limit")
        .covers([R049, R051])
        .file("cgroup.stat")
        .unit(Unit::Groups)
        .observed(bounded.key("cgroup.stat", "nr_descendants")?)
        .equals(limit, "so many were made");
    make("the answer to one group more", "EAGAIN", REFUSED);
    bounded.set("cgroup.max.descendants", limit + 1)?;
    make("the answer once the limit is one higher", "ok", ROOM);
    bounded.set("cgroup.max.descendants", limit)?;
    make("the answer once the limit is back", "EAGAIN", REFUSED);
    bounded.set("cgroup.max.descendants", "max")?;
    make("the answer without a limit", "ok", ROOM);
    drop(made);
    Ok(())
}

/// A removed group makes room for another below `cgroup.max.descendants`.
#[rstest]
fn removed_group_makes_room_for_another(lab: Lab) -> Outcome {
    let bounded = lab.group("bounded")?;
    bounded.set("cgroup.max.descendants", 2)?;
    let first = bounded.make("first")?;
    let _second = bounded.make("second")?;

    lab.enforcement("the answer to a third group beside two")
        .covers([R049])
        .file("cgroup.max.descendants")
        .beyond_lies("a lie that refuses to make a group refuses the first, too")
        .answered(&bounded.try_make("third").map(drop))
        .equals("EAGAIN", REFUSED);
    drop(first);
    lab.enforcement("the answer to a third group in place of the first")
        .covers([R049])
        .file("cgroup.max.descendants")
        .answered(&bounded.try_make("third").map(drop))
        .equals("ok", "a removed group is no descendant, even while it is dying");
    Ok(())
}

/// `cgroup.max.descendants` counts groups at every depth, and each ancestor's limit holds by itself.
#[rstest]
fn descendants_are_counted_at_every_depth(lab: Lab) -> Outcome {
    let bounded = lab.group("bounded")?;
    let child = bounded.make("child")?;
    let grandchild = child.make("grandchild")?;
    let _great_grandchild = grandchild.make("great-grandchild")?;
    let beside = lab.group("beside")?;
    bounded.set("cgroup.max.descendants", 3)?;

    for (what, group, expected, reason) in [
        ("the answer in the group with three below it", &bounded, "EAGAIN", REFUSED),
        ("the answer in its child", &child, "EAGAIN", REFUSED),
        ("the answer in its grandchild", &grandchild, "EAGAIN", REFUSED),
        ("the answer in a group beside it", &beside, "ok", "no ancestor of it has a limit"),
    ] {
        lab.enforcement(what)
            .covers([R049])
            .file("cgroup.max.descendants")
            .answered(&group.try_make("one-more").map(drop))
            .equals(expected, reason);
    }
    bounded.set("cgroup.max.descendants", 5)?;
    child.set("cgroup.max.descendants", 2)?;
    for (what, group, expected, reason) in [
        ("the answer in the child once the limit is its own", &child, "EAGAIN", REFUSED),
        ("the answer in the grandchild then", &grandchild, "EAGAIN", REFUSED),
        ("the answer beside the child then", &bounded, "ok", ROOM),
    ] {
        lab.enforcement(what)
            .covers([R049])
            .file("cgroup.max.descendants")
            .answered(&group.try_make("one-more").map(drop))
            .equals(expected, reason);
    }
    Ok(())
}

/// `cgroup.max.descendants` may be set below what is there: nothing is removed, nothing can be made.
#[rstest]
fn limit_below_the_present_number_keeps_what_is_there(lab: Lab) -> Outcome {
    let bounded = lab.group("bounded")?;
    let first = bounded.make("first")?;
    let second = bounded.make("second")?;
    let below = second.make("below")?;
    let make = |what: &str, expected: &str, reason: &str| {
        let answer = bounded.try_make("one-more").map(drop);
        lab.enforcement(what)
            .covers([R049])
            .file("cgroup.max.descendants")
            .answered(&answer)
            .equals(expected, reason);
    };

    lab.interface("the answer to a limit below the number")
        .covers([R049])
        .file("cgroup.max.descendants")
        .answered(&bounded.try_set("cgroup.max.descendants", 1))
        .equals("ok", "cgroup-v2.rst: the limit is looked at when a group is made");
    lab.enforcement("groups below after the limit was set")
        .covers([R049])
        .file("cgroup.stat")
        .unit(Unit::Groups)
        .observed(bounded.key("cgroup.stat", "nr_descendants")?)
        .equals(3, "a limit removes nothing");
    make("the answer with three of one", "EAGAIN", REFUSED);
    drop(first);
    drop(below);
    make("the answer with one of one", "EAGAIN", REFUSED);
    drop(second);
    make("the answer with none of one", "ok", ROOM);
    Ok(())
}

/// Groups nest at most `cgroup.max.depth` levels below a group: making one deeper fails with EAGAIN.
#[rstest]
fn depth_stops_at_the_limit(lab: Lab, #[values(0, 1, 3, 8)] limit: usize) -> Outcome {
    let bounded = lab.group("bounded")?;
    let mut chain: Vec<Group> = Vec::new();
    for _ in 0..limit {
        let deeper = chain.last().unwrap_or(&bounded).make("deeper")?;
        chain.push(deeper);
    }
    bounded.set("cgroup.max.depth", limit)?;
    let deepest = chain.last().unwrap_or(&bounded);
    let make = |what: &str, group: &Group, expected: &str, reason: &str| {
        let answer = group.try_make("one-more").map(drop);
        lab.enforcement(what)
            .covers([R050])
            .file("cgroup.max.depth")
            .answered(&answer)
            .equals(expected, reason);
    };

    make("the answer one level below the limit", deepest, "EAGAIN", REFUSED);
    if let Some(above) = limit.checked_sub(1) {
        let parent = if above == 0 { &bounded } else { &chain[above - 1] };
        make(
            "the answer beside the deepest group",
            parent,
            "ok",
            "it is no deeper than the limit allows",
        );
    }
    bounded.set("cgroup.max.depth", limit + 1)?;
    make("the answer once the limit is one higher", deepest, "ok", ROOM);
    bounded.set("cgroup.max.depth", limit)?;
    make("the answer once the limit is back", deepest, "EAGAIN", REFUSED);
    bounded.set("cgroup.max.depth", "max")?;
    make("the answer without a limit", deepest, "ok", ROOM);
    Ok(())
}

/// `cgroup.max.depth` holds for each ancestor by itself, counted from it; the tightest one wins.
#[rstest]
fn depth_is_counted_from_each_ancestor(lab: Lab) -> Outcome {
    let top = lab.group("top")?;
    let middle = top.make("middle")?;
    let leaf = middle.make("leaf")?;
    let make = |what: &str, group: &Group, expected: &str, reason: &str| {
        let answer = group.try_make("one-more").map(drop);
        lab.enforcement(what)
            .covers([R050])
            .file("cgroup.max.depth")
            .answered(&answer)
            .equals(expected, reason);
    };

    top.set("cgroup.max.depth", 2)?;
    make("the answer in the leaf, two levels below a limit of 2", &leaf, "EAGAIN", REFUSED);
    make("the answer beside the leaf", &middle, "ok", ROOM);
    top.set("cgroup.max.depth", 3)?;
    make("the answer in the leaf below a limit of 3", &leaf, "ok", ROOM);
    middle.set("cgroup.max.depth", 1)?;
    make("the answer in the leaf with a limit of 1 in the middle", &leaf, "EAGAIN", REFUSED);
    make("the answer beside the leaf then", &middle, "ok", ROOM);
    leaf.set("cgroup.max.depth", "max")?;
    make(
        "the answer in the leaf when it has no limit itself",
        &leaf,
        "EAGAIN",
        "an ancestor's limit holds all the same",
    );
    Ok(())
}

/// `cgroup.max.depth` may be set below the depth that is there: nothing is removed, nothing deeper can be made.
#[rstest]
fn limit_below_the_present_depth_keeps_what_is_there(lab: Lab) -> Outcome {
    let bounded = lab.group("bounded")?;
    let child = bounded.make("child")?;
    let _grandchild = child.make("grandchild")?;

    lab.interface("the answer to a limit below the depth")
        .covers([R050])
        .file("cgroup.max.depth")
        .answered(&bounded.try_set("cgroup.max.depth", 1))
        .equals("ok", "cgroup-v2.rst: the limit is looked at when a group is made");
    lab.enforcement("groups below after the limit was set")
        .covers([R050])
        .file("cgroup.stat")
        .unit(Unit::Groups)
        .observed(bounded.key("cgroup.stat", "nr_descendants")?)
        .equals(2, "a limit removes nothing");
    lab.enforcement("the answer in the child")
        .covers([R050])
        .file("cgroup.max.depth")
        .answered(&child.try_make("one-more").map(drop))
        .equals("EAGAIN", REFUSED);
    lab.enforcement("the answer in the group itself")
        .covers([R050])
        .file("cgroup.max.depth")
        .answered(&bounded.try_make("one-more").map(drop))
        .equals("ok", ROOM);
    Ok(())
}

/// Both limits are `max` in a new group, show what was set, and refuse what is no limit.
#[rstest]
#[case::no_limit("max", "ok", "max")]
#[case::none_at_all("0", "ok", "0")]
#[case::the_greatest("2147483647", "ok", "max")]
#[case::beyond_the_greatest("2147483648", "ERANGE", "max")]
#[case::negative("-1", "ERANGE", "max")]
#[case::word("many", "EINVAL", "max")]
#[case::with_a_tail("1 2", "EINVAL", "max")]
fn limits_on_groups_accept_max_and_whole_numbers(
    lab: Lab,
    #[values("cgroup.max.descendants", "cgroup.max.depth")] file: &str,
    #[case] written: &str,
    #[case] answer: &str,
    #[case] shown: &str,
) -> Outcome {
    let group = lab.group("bounded")?;
    lab.interface("the limit of a new group")
        .covers([R049, R050])
        .file(file)
        .observed(group.get(file)?)
        .equals("max\n", "cgroup-v2.rst, Core Interface Files: the default");
    lab.interface("the answer to the value")
        .covers([R049, R050])
        .file(file)
        .answered(&group.try_set(file, written))
        .equals(
            answer,
            "cgroup_max_depth_write() and its twin: \"max\" or a C int that is not negative",
        );
    lab.interface("the limit afterwards")
        .covers([R049, R050])
        .file(file)
        .observed(group.line(file)?)
        .equals(shown, "INT_MAX stands for max, and a refused write changes nothing");
    Ok(())
}
