use super::*;

const RELEASE: &str = "6.9.0-test";

/// A relocatable ELF file for x86-64 with nothing in it but `.modinfo`.
fn module(info: &[&str]) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.modinfo\0.shstrtab\0";
    let info: Vec<u8> = info.iter().flat_map(|it| [it.as_bytes(), b"\0"].concat()).collect();
    let (info_at, names_at) = (64_u64, 64 + info.len() as u64);
    let headers_at = (names_at + NAMES.len() as u64).next_multiple_of(8);
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for half in [1_u16, 62] {
        file.extend(half.to_le_bytes()); // Relocatable, x86-64.
    }
    file.extend(1_u32.to_le_bytes());
    for offset in [0, 0, headers_at] {
        file.extend(offset.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    // Sizes and numbers of headers; the last names the section of names.
    for half in [64_u16, 0, 0, 64, 3, 2] {
        file.extend(half.to_le_bytes());
    }
    file.extend(&info);
    file.extend(NAMES);
    file.resize(usize::try_from(headers_at).unwrap(), 0);
    let sections = [
        (0, 0, 0, 0),
        (1_u32, 1_u32, info_at, info.len() as u64),
        (10, 3, names_at, NAMES.len() as u64),
    ];
    for (name, kind, offset, size) in sections {
        file.extend(name.to_le_bytes());
        file.extend(kind.to_le_bytes());
        for field in [0, 0, offset, size, 0, 0, 0] {
            file.extend(field.to_le_bytes());
        }
        file.resize(file.len().next_multiple_of(8), 0);
    }
    file
}

/// A directory of modules: `PATH` and the strings of its `.modinfo`.
fn installed(modules: &[(&str, &[&str])]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (path, info) in modules {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, module(info)).unwrap();
    }
    home
}

fn plan(modules: &Modules, wanted: &[&str]) -> Result<LoadPlan, String> {
    let directory = modules.directory().to_str().unwrap();
    modules.load_plan(RELEASE, wanted).map_err(|it| it.to_string().replace(directory, "DIR"))
}

/// The order of loading for `wanted`.
fn order(home: &tempfile::TempDir, wanted: &[&str]) -> Result<String, String> {
    let plan = plan(&Modules::Installed(home.path().to_owned()), wanted)?;
    Ok(plan.modules.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(" "))
}

#[test]
fn what_a_module_needs_comes_first_and_once() {
    let home = installed(&[
        ("kernel/drivers/block/null-blk.ko", &["depends=configfs"]),
        ("kernel/fs/configfs.ko", &["depends="]),
        (
            "kernel/fs/xfs.ko",
            &["depends=libcrc32c,configfs", "softdep=pre: crc32c_hw absent post: late"],
        ),
        ("kernel/lib/libcrc32c.ko", &[]),
        ("kernel/lib/crc32c-hw.ko", &[]),
        ("kernel/lib/late.ko", &["depends=xfs"]),
    ]);
    assert_eq!(order(&home, &["null_blk"]).unwrap(), "configfs null_blk");
    assert_eq!(order(&home, &["null-blk", "configfs", "null_blk"]).unwrap(), "configfs null_blk");
    assert_eq!(
        order(&home, &["xfs", "null_blk"]).unwrap(),
        "libcrc32c configfs crc32c_hw xfs late null_blk"
    );
    assert_eq!(order(&home, &["late"]).unwrap(), "libcrc32c configfs crc32c_hw xfs late");
    assert_eq!(order(&home, &[]).unwrap(), "");
}

#[test]
fn what_is_built_in_need_not_be_loaded() {
    let home = installed(&[("kernel/bfq.ko", &[])]);
    fs::write(home.path().join("modules.builtin"), "kernel/drivers/char/virtio_console.ko\n")
        .unwrap();
    let modules = Modules::Installed(home.path().to_owned());
    let plan = plan(&modules, &["bfq", "virtio-console"]).unwrap();
    assert_eq!(plan.built_in, ["virtio_console"]);
    assert_eq!(plan.modules.len(), 1);
}

#[test]
fn what_cannot_be_had_is_named() {
    let home = installed(&[
        ("null_blk.ko", &["depends=configfs"]),
        ("circle.ko", &["depends=round"]),
        ("round.ko", &["depends=circle"]),
        ("other.ko", &["vermagic=5.10.0 SMP mod_unload"]),
        ("same.ko", &["vermagic=6.9.0-test SMP mod_unload"]),
    ]);
    fs::write(home.path().join("damaged.ko"), &module(&[])[..100]).unwrap();
    fs::write(home.path().join("text.ko"), "text").unwrap();
    insta::assert_snapshot!(order(&home, &["null_blok"]).unwrap_err(), @"kernel 6.9.0-test has no module null_blok (did you mean null_blk?)");
    insta::assert_snapshot!(order(&home, &["scsi_debug"]).unwrap_err(), @"kernel 6.9.0-test has no module scsi_debug");
    insta::assert_snapshot!(order(&home, &["null_blk"]).unwrap_err(), @"module null_blk of kernel 6.9.0-test needs configfs, which is not among its modules");
    insta::assert_snapshot!(order(&home, &["circle"]).unwrap_err(), @"module circle needs itself, by way of its dependencies");
    insta::assert_snapshot!(order(&home, &["other"]).unwrap_err(), @"DIR/other.ko is for kernel 5.10.0, not 6.9.0-test: give the modules of the same build");
    for name in ["damaged", "text"] {
        let message = order(&home, &[name]).unwrap_err();
        assert!(message.starts_with(&format!("DIR/{name}.ko is no sound module: ")), "{message}");
    }
    assert_eq!(order(&home, &["same"]).unwrap(), "same");
}

#[test]
fn an_update_takes_the_place_of_the_original() {
    let home = installed(&[
        ("kernel/a.ko", &["depends=from_kernel"]),
        ("updates/a.ko", &["depends=from_updates"]),
        ("from_updates.ko", &[]),
    ]);
    assert_eq!(order(&home, &["a"]).unwrap(), "from_updates a");
}

#[test]
fn links_to_whole_trees_are_not_followed() {
    let home = installed(&[("kernel/a.ko", &[])]);
    std::os::unix::fs::symlink(home.path(), home.path().join("build")).unwrap();
    assert_eq!(order(&home, &["a"]).unwrap(), "a");
}

#[test]
fn a_built_tree_is_read_by_its_list() {
    let home = installed(&[
        ("block/bfq.ko", &[]),
        ("fs/configfs/configfs.ko", &[]),
        ("lib/stale.ko", &[]),
    ]);
    // As older and as newer kernels write it.
    fs::write(home.path().join("modules.order"), "block/bfq.ko\nfs/configfs/configfs.o\n").unwrap();
    let tree = Modules::Built(home.path().to_owned());
    assert_eq!(plan(&tree, &["bfq", "configfs"]).unwrap().modules.len(), 2);
    assert!(plan(&tree, &["stale"]).is_err());
}
