//! Images that are made of real file systems, by the programs that make and read them,
//! with a stand-in for the one that downloads packages.

use super::settings::tests::options;
use super::*;
use crate::sysfs::Sysfs;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Writes a program that is a shell script.
fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}")).expect("writes");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("sets");
}

/// Programs of this machine behind those in `dir`.
fn tools(dir: &Path) -> Tools {
    let mut tools = Tools::new(build::WHAT, true);
    let mut path = dir.as_os_str().to_owned();
    path.push(":");
    path.push(&tools.path);
    tools.path = path;
    tools
}

/// A Linux without namespaces.
fn linux() -> Sysfs {
    Sysfs::new("/nowhere")
}

/// True if the programs are here; tells it otherwise.
fn here(tools: &Tools, names: &[&str]) -> bool {
    let here = tools.need(names);
    if let Err(error) = &here {
        println!("SKIPPED: {error}");
    }
    here.is_ok()
}

/// An ext4 image of a system with two kernels.
fn system(dir: &Path) -> PathBuf {
    let (tree, image) = (dir.join("tree"), dir.join("system.img"));
    for folder in ["boot", "etc"] {
        fs::create_dir_all(tree.join(folder)).expect("makes");
    }
    fs::write(tree.join("etc/fstab"), "").expect("writes");
    for version in ["6.1.0-9-amd64", "6.1.0-10-amd64"] {
        for name in ["vmlinuz", "initrd.img"] {
            let path = tree.join(format!("boot/{name}-{version}"));
            fs::write(path, format!("{name} {version}")).expect("writes");
        }
    }
    let args = ["-q", "-F", "-t", "ext4", "-U", UUID, "-d"].map(OsStr::new);
    let made = Command::new("/usr/sbin/mke2fs")
        .args(args)
        .args([&tree, &image])
        .arg("16M")
        .status();
    assert!(made.expect("it runs").success());
    image
}

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

fn import_options(file: &Path, out: &Path) -> cli::ImageImport {
    cli::ImageImport {
        file: file.to_owned(),
        place: cli::ImagePlace {
            out: Some(out.to_owned()),
            namespace: None,
            boot: PathBuf::from("."),
            replace: false,
        },
    }
}

/// What is in the folder beside `system.img` and what it was made of.
fn left(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("a folder").flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|n| n != "tree" && n != "system.img").collect();
    names.sort();
    names
}

#[test]
fn import_finds_the_newest_kernel_in_a_partition() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let tools = tools(dir.path());
    if !here(&tools, &["mke2fs", "debugfs"]) {
        return;
    }
    // An MBR with one partition, 1 MiB from the beginning.
    let mut disk = vec![0; 1 << 20];
    disk[446 + 4] = 0x83;
    disk[446 + 8..446 + 12].copy_from_slice(&2048u32.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let image = system(dir.path());
    disk.extend(fs::read(&image).expect("reads"));
    fs::write(&image, disk).expect("writes");
    let out = dir.path().join("web.img");
    let made = import::import(&import_options(&image, &out), &linux(), &tools).expect("takes it");
    assert_eq!(made.version, "6.1.0-10-amd64");
    assert_eq!(made.cmdline, format!("console=ttyS0 root=UUID={UUID} ro"));
    assert_eq!(made.size, 17 << 20);
    let text = |name: &str| fs::read_to_string(dir.path().join(name)).expect("reads");
    assert_eq!(text("web.vmlinuz"), "vmlinuz 6.1.0-10-amd64");
    assert_eq!(text("web.initrd"), "initrd.img 6.1.0-10-amd64");
    assert_eq!(left(dir.path()), ["web.img", "web.initrd", "web.vmlinuz"]);
}

#[test]
fn image_without_a_kernel_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let tools = tools(dir.path());
    if !here(&tools, &["debugfs"]) {
        return;
    }
    let image = dir.path().join("system.img");
    fs::write(&image, vec![0; 1 << 20]).expect("writes");
    let out = dir.path().join("web.img");
    let error = import::import(&import_options(&image, &out), &linux(), &tools).expect_err("none");
    assert!(
        error.to_string().contains("no ext4 file system is on it"),
        "{error}"
    );
    assert!(left(dir.path()).is_empty());
}

#[test]
fn qcow2_is_converted_and_never_guessed() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let tools = tools(dir.path());
    if !here(&tools, &["mke2fs", "debugfs"]) {
        return;
    }
    let image = system(dir.path());
    program(
        &dir.path().join("qemu-img"),
        &format!(
            "echo \"$@\" > {0}/asked\nexec cp {1} \"$7\"",
            dir.path().display(),
            image.display()
        ),
    );
    let mut head = b"QFI\xfb\0\0\0\x03".to_vec();
    head.resize(104, 0);
    let qcow2 = dir.path().join("cloud.qcow2");
    fs::write(&qcow2, head).expect("writes");
    let out = dir.path().join("web.img");
    import::import(&import_options(&qcow2, &out), &linux(), &tools).expect("takes it");
    let asked = fs::read_to_string(dir.path().join("asked")).expect("was asked");
    assert!(asked.starts_with("convert -f qcow2 -O raw "), "{asked}");
    let mode = fs::metadata(&out).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others do not read it");
}

/// Options of `image build` for a file in a folder.
fn build_options(dir: &Path) -> cli::ImageBuild {
    let key = dir.join("key.pub");
    fs::write(&key, "ssh-ed25519 AAAA").expect("writes");
    options(&format!(
        "--out {} --ssh-key {} --size 16MiB --include vim,less --mirror http://mirror.example/debian",
        dir.join("web.img").display(),
        key.display()
    ))
}

#[test]
fn build_makes_a_file_system_of_the_tree_that_mmdebstrap_makes() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let tools = tools(dir.path());
    let script = "for last; do tree=$before before=$last; done\necho \"$last\" > MIRROR\n\
        case $* in *openssh-server*,vim,less*) ;; *) exit 7;; esac\n\
        mkdir -p \"$tree/boot\" \"$tree/etc\"\necho \"$IMAGE_UUID\" > \"$tree/etc/fstab\"\n\
        for name in vmlinuz initrd.img; do echo x > \"$tree/boot/$name-6.1.0\"; done\n";
    let mirror = dir.path().join("mirror");
    program(
        &dir.path().join("mmdebstrap"),
        &script.replace("MIRROR", &mirror.display().to_string()),
    );
    if !here(&tools, &["mke2fs", "debugfs"]) {
        return;
    }
    let built = build::build(&build_options(dir.path()), &linux(), &tools);
    if !rustix::process::geteuid().is_root() {
        let told = built.expect_err("only root may").to_string();
        assert!(told.contains("run this as root"), "{told}");
        println!("SKIPPED: only root makes systems");
        return;
    }
    let made = built.expect("makes it");
    let told = fs::read_to_string(&mirror).expect("a mirror");
    assert_eq!(told.trim(), "http://mirror.example/debian");
    assert_eq!((made.size, made.version.as_str()), (16 << 20, "6.1.0"));
    let fstab = tools
        .command("debugfs", ["-R", "cat /etc/fstab"])
        .expect("here");
    let fstab = { fstab }.arg(&made.disk).output().expect("it runs").stdout;
    let uuid = String::from_utf8_lossy(&fstab).trim().to_owned();
    assert!(made.cmdline.contains(&format!("root=UUID={uuid} ")) && uuid.len() == 36);
}

#[test]
fn failure_of_a_program_names_it_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut tools = tools(dir.path());
    program(&dir.path().join("mmdebstrap"), "echo no route >&2\nexit 25");
    for name in ["mke2fs", "debugfs"] {
        program(&dir.path().join(name), "exit 0");
    }
    let options = build_options(dir.path());
    if rustix::process::geteuid().is_root() {
        let error = build::build(&options, &linux(), &tools)
            .expect_err("fails")
            .to_string();
        assert!(
            error.contains("mmdebstrap: it ended with exit status: 25: no route"),
            "{error}"
        );
    } else {
        println!("SKIPPED: only root makes systems");
    }
    assert_eq!(
        left(dir.path()),
        ["debugfs", "key.pub", "mke2fs", "mmdebstrap"]
    );
    tools.path = dir.path().as_os_str().to_owned();
    fs::remove_file(dir.path().join("mke2fs")).expect("removes");
    let error = build::build(&options, &linux(), &tools)
        .expect_err("fails")
        .to_string();
    assert!(error.contains("the program mke2fs is not here"), "{error}");
    assert!(error.contains("apt install e2fsprogs"), "{error}");
}
