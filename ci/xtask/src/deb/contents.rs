//! What is in each package, and where it goes.

use super::Parts;
use crate::paths::{Paths, make_dir, read, read_text};
use crate::sh::Cmd;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Who answers for the packages.
pub(super) const MAINTAINER: &str = "cellvisor maintainers <maintainers@cellvisor.dev>";

/// Where units of packages are.
const UNITS: &str = "lib/systemd/system";

/// Where shells look for completions.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/cellctl"),
    ("zsh", "usr/share/zsh/vendor-completions/_cellctl"),
    ("fish", "usr/share/fish/vendor_completions.d/cellctl.fish"),
];

/// Files of the repository, as they are.
const FILES: &[(&str, &str)] = &[
    (
        "configs/packaging/udev.rules",
        "lib/udev/rules.d/60-cellvisor.rules",
    ),
    (
        "configs/packaging/sysusers.conf",
        "usr/lib/sysusers.d/cellvisor.conf",
    ),
    (
        "configs/packaging/tmpfiles.conf",
        "usr/lib/tmpfiles.d/cellvisor.conf",
    ),
    (
        "configs/packaging/polkit.rules",
        "usr/share/doc/cellvisor/examples/50-cellvisor.rules",
    ),
    (
        "configs/minimal.toml",
        "usr/share/doc/cellvisor/examples/minimal.toml",
    ),
    (
        "configs/z8-slice0.toml",
        "usr/share/doc/cellvisor/examples/z8-slice0.toml",
    ),
];

/// One file or folder of a package.
pub(super) struct Item {
    /// Where it goes, from the root of the file system.
    pub(super) to: PathBuf,
    pub(super) content: Content,
    pub(super) mode: u32,
}

/// What an item is.
pub(super) enum Content {
    /// An empty folder.
    Folder,
    Bytes(Vec<u8>),
    /// It gets compressed, and `.gz` behind its name.
    Packed(Vec<u8>),
    /// A program, which loses its symbols.
    Program(PathBuf),
}

impl Item {
    fn new(to: impl Into<PathBuf>, content: Content) -> Self {
        let mode = match &content {
            Content::Folder | Content::Program(_) => 0o755,
            Content::Bytes(_) | Content::Packed(_) => 0o644,
        };
        let to = to.into();
        Self { to, content, mode }
    }

    fn file(paths: &Paths, from: &str, to: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self::new(to, Content::Bytes(read(&paths.repo(from))?)))
    }
}

/// The monitor's image, the tools and all that belongs to them.
pub(super) fn cellvisor(paths: &Paths, parts: &Parts) -> Result<Vec<Item>> {
    let mut items = vec![
        Item::new("usr/bin/cellctl", Content::Program(parts.cellctl.clone())),
        Item::new(
            "usr/lib/cellvisor/cellvisor.bin",
            Content::Bytes(read(&parts.monitor)?),
        ),
        Item::new("etc/cellvisor/slices", Content::Folder),
    ];
    for (from, to) in FILES {
        items.push(Item::file(paths, from, *to)?);
    }
    for unit in names(&paths.repo("configs/systemd"))? {
        let from = format!("configs/systemd/{unit}");
        items.push(Item::file(paths, &from, Path::new(UNITS).join(&unit))?);
    }
    for (shell, to) in COMPLETIONS {
        let script = Cmd::new(&parts.cellctl)
            .args(["completions", shell])
            .read()?;
        items.push(Item::new(*to, Content::Bytes(script.into_bytes())));
    }
    items.extend(manual(paths, &parts.cellctl)?);
    items.extend(link_tools(paths, parts)?);
    Ok(items)
}

/// What members of links run, each with its man page.
fn link_tools(paths: &Paths, parts: &Parts) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for program in &parts.link_tools {
        let name = program.file_name().and_then(|name| name.to_str());
        let name = name.context("a program without a name")?;
        let to = format!("usr/bin/{name}");
        items.push(Item::new(to, Content::Program(program.clone())));
        let page = read(&paths.repo(&format!("tools/window/man/{name}.1")))?;
        let to = format!("usr/share/man/man1/{name}.1");
        items.push(Item::new(to, Content::Packed(page)));
    }
    Ok(items)
}

/// The man pages, as `cellctl` writes them.
fn manual(paths: &Paths, cellctl: &Path) -> Result<Vec<Item>> {
    let dir = paths.target.join("deb/man");
    make_dir(&dir)?;
    Cmd::new(cellctl)
        .arg("man")
        .arg(&dir)
        .run(paths, "deb-man")?;
    let mut items = Vec::new();
    for section in ["man1", "man5"] {
        for name in names(&dir.join(section))? {
            let page = read(&dir.join(section).join(&name))?;
            let to = format!("usr/share/man/{section}/{name}");
            items.push(Item::new(to, Content::Packed(page)));
        }
    }
    Ok(items)
}

/// The driver's source, as DKMS takes it.
pub(super) fn dkms(paths: &Paths, version: &str) -> Result<Vec<Item>> {
    let home = PathBuf::from(format!("usr/src/cellvisor-{version}"));
    let mut items = Vec::new();
    for name in names(&paths.repo("driver"))? {
        let is_source = [".c", ".h", ".S"].iter().any(|end| name.ends_with(end));
        if is_source || name == "Makefile" {
            items.push(Item::file(
                paths,
                &format!("driver/{name}"),
                home.join(&name),
            )?);
        }
    }
    let config =
        read_text(&paths.repo("configs/packaging/dkms.conf"))?.replace("@VERSION@", version);
    items.push(Item::new(
        home.join("dkms.conf"),
        Content::Bytes(config.into_bytes()),
    ));
    Ok(items)
}

/// The program, and the names under which Slurm starts it.
pub(super) fn slurm(paths: &Paths, program: &Path) -> Result<Vec<Item>> {
    let page = read(&paths.repo("tools/slurm/man/cellvisor-slurm.8"))?;
    let mut items = vec![
        Item::new(
            "usr/bin/cellvisor-slurm",
            Content::Program(program.to_owned()),
        ),
        Item::new(
            "usr/share/man/man8/cellvisor-slurm.8",
            Content::Packed(page),
        ),
    ];
    for name in ["resume", "suspend", "resume-fail"] {
        let to = format!("usr/lib/cellvisor/slurm/{name}");
        let mut item = Item::file(paths, "configs/packaging/slurm-program", to)?;
        item.mode = 0o755;
        items.push(item);
    }
    Ok(items)
}

/// The server, its units and its user.
pub(super) fn redfish(paths: &Paths, program: &Path) -> Result<Vec<Item>> {
    let page = read(&paths.repo("tools/redfish/man/cellvisor-redfish.8"))?;
    let from = |name: &str| format!("configs/packaging/redfish/{name}");
    let mut items = vec![
        Item::new(
            "usr/bin/cellvisor-redfish",
            Content::Program(program.to_owned()),
        ),
        Item::new(
            "usr/share/man/man8/cellvisor-redfish.8",
            Content::Packed(page),
        ),
        Item::file(
            paths,
            &from("sysusers.conf"),
            "usr/lib/sysusers.d/cellvisor-redfish.conf",
        )?,
        Item::file(
            paths,
            &from("redfish.toml"),
            "usr/share/doc/cellvisor-redfish/examples/redfish.toml",
        )?,
    ];
    for unit in [
        "cellvisor-redfish.service",
        "cellvisor-redfish-power.socket",
        "cellvisor-redfish-power@.service",
    ] {
        items.push(Item::file(paths, &from(unit), Path::new(UNITS).join(unit))?);
    }
    Ok(items)
}

/// What each package has in its folder of documents.
pub(super) fn documents(paths: &Paths, name: &str, version: &str, time: &str) -> Result<Vec<Item>> {
    let home = PathBuf::from(format!("usr/share/doc/{name}"));
    let date = Cmd::new("date")
        .args(["-u", "-R", "-d"])
        .arg(format!("@{time}"))
        .read()?;
    let changes = format!(
        "{name} ({version}) unstable; urgency=medium\n\n  \
         * See CHANGELOG.md in the source for what has changed.\n\n \
         -- {MAINTAINER}  {date}"
    );
    let mit = read_text(&paths.repo("LICENSE-MIT"))?;
    let indented: Vec<String> = mit
        .lines()
        .map(|line| match line.trim() {
            "" => " .".to_owned(),
            line => format!(" {line}"),
        })
        .collect();
    let copyright = read_text(&paths.repo("configs/packaging/deb/copyright"))?;
    let copyright = copyright.replace("@MIT@", &indented.join("\n"));
    let mut items = vec![
        Item::new(
            home.join("changelog"),
            Content::Packed(changes.into_bytes()),
        ),
        Item::new(
            home.join("copyright"),
            Content::Bytes(copyright.into_bytes()),
        ),
    ];
    let overrides = format!("configs/packaging/deb/{name}/lintian-overrides");
    if paths.repo(&overrides).exists() {
        let to = format!("usr/share/lintian/overrides/{name}");
        items.push(Item::file(paths, &overrides, to)?);
    }
    Ok(items)
}

/// Names of the files of a folder, in order.
fn names(dir: &Path) -> Result<Vec<String>> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let files = entries.flatten().filter(|entry| entry.path().is_file());
    let mut names: Vec<String> = files
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}
