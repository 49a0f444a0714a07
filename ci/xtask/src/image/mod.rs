//! File systems of the root and of cells: initramfs images made of busybox,
//! our own parts and what a scenario brings.

mod archive;
mod cell;
pub(crate) mod debian;
mod debian_cell;
pub(crate) mod ext4;
mod frames;
mod modules;
pub(crate) mod outer;
mod packages;
mod payloads;

use crate::build::monitor::Image;
use crate::build::{Parts, crs_check, module, program};
use crate::deb;
use crate::paths::{Paths, make_dir, read};
use crate::scenario::{Scenario, judge};
use crate::setup::kernels;
use crate::sh::{Cmd, find_program, libraries};
use crate::ui::Ui;
use anyhow::{Context, Result};
use archive::{Archive, Mode};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Debian's busybox, linked statically.
const BUSYBOX: &str = "/bin/busybox";

/// Folder of a root image with configs, kernels and what cells boot from.
const CELLS: &str = "etc/cellvisor";

/// Folder of modules, and of the order in which an init loads them.
const MODULES: &str = "lib/modules";

/// A root file system and the kernel that boots it.
#[derive(Clone, Debug)]
pub(crate) struct RootImage {
    /// The root's kernel.
    pub(crate) kernel: kernels::Files,
    /// The initramfs.
    pub(crate) initramfs: PathBuf,
    /// Disks of the NVMe controller, if there is one.
    pub(crate) disks: Vec<PathBuf>,
    /// Disks of a root that is on disks: its system, which is not to be changed, and
    /// the scenario.
    pub(crate) system: Option<[PathBuf; 2]>,
}

/// Makes the root image of a scenario in `dir`.
///
/// # Errors
///
/// A file that goes into it is missing.
pub(crate) fn root(
    paths: &Paths,
    scenario: &Scenario,
    parts: &Parts,
    dir: &Path,
) -> Result<RootImage> {
    if scenario.root.debian {
        return on_disks(paths, scenario, dir);
    }
    let kernel = kernels::files(paths, scenario.root.kernel)?;
    let mut image = base(paths, "ci/root/root-init")?;
    for folder in ["lib/modules", "scenario", "etc", CELLS] {
        image.dir(folder)?;
    }
    for words in ["lib.sh", "attacks.sh", "kvm.sh", "net.sh", "vfs.sh"] {
        let content = read(&paths.repo(&format!("ci/root/{words}")))?;
        image.file(words, &content, Mode::Plain)?;
    }
    image.file("bin/io", &read(&paths.repo(cell::IO))?, Mode::Run)?;
    add_modules(&mut image, MODULES, &kernel, &scenario.root.modules)?;
    add_later(&mut image, &kernel, &scenario.root.modules_later)?;
    add_programs(paths, &mut image, &scenario.root.programs)?;
    for source in &scenario.root.provoke {
        let (name, content) = module::build(paths, source, &kernel)?;
        image.file(&format!("lib/modules/{name}"), &content, Mode::Plain)?;
        image.file("frames", frames::all().as_bytes(), Mode::Plain)?;
    }
    add_tools(&mut image, &scenario.root.tools)?;
    add_files(&mut image, scenario.root.files.iter().map(Path::new))?;
    packages::add_roots(paths, &mut image, &scenario.root)?;
    if scenario.root.crs_check {
        let program = read(&crs_check::build(paths)?)?;
        image.file("bin/crs-check", &program, Mode::Run)?;
    }
    add_parts(&mut image, parts, &kernel.release)?;
    add_link_tools(&mut image, scenario, &parts.link_tools)?;
    add_cells(paths, &mut image, scenario, parts)?;
    let system = match &parts.cellctl {
        Some(cellctl) if scenario.cells.debian => Some(debian_cell::ensure(paths, cellctl)?),
        _ => None,
    };
    if let Some(system) = &system {
        debian_cell::add(&mut image, system)?;
    }
    // The words of `lib.sh` read it.
    let patience = scenario.patience.to_string();
    image.file("patience", patience.as_bytes(), Mode::Plain)?;
    let steps: Vec<&str> = scenario.steps.iter().map(|step| &*step.name).collect();
    image.file("steps", steps.join("\n").as_bytes(), Mode::Plain)?;
    for (name, content) in scenario.files()? {
        image.file(&format!("scenario/{name}"), &content, Mode::Run)?;
    }
    make_dir(dir)?;
    let initramfs = dir.join("root.cpio");
    image.finish(&initramfs)?;
    let disks = if scenario.machine.nvme {
        let system = system.as_ref().map(|system| &*system.disk);
        cell::disks(paths, scenario, system, dir)?
    } else {
        Vec::new()
    };
    Ok(RootImage {
        kernel,
        initramfs,
        disks,
        system: None,
    })
}

/// A root system that is Debian, with our packages on the scenario's disk.
fn on_disks(paths: &Paths, scenario: &Scenario, dir: &Path) -> Result<RootImage> {
    let system = debian::ensure(paths, &Ui::new(false).silent())?;
    let packages = deb::build(paths, deb::VERSION, Image::Full)?;
    let job = debian::job(paths, scenario, &packages, dir)?;
    Ok(RootImage {
        kernel: kernels::files(paths, debian::KERNEL)?,
        initramfs: system.initramfs,
        disks: Vec::new(),
        system: Some([system.disk, job]),
    })
}

/// Makes the initramfs of a Linux that needs busybox, an init from the
/// repository, some modules and some empty folders.
///
/// # Errors
///
/// A file that goes into it is missing, or the image cannot be written.
pub(crate) fn small_linux(
    paths: &Paths,
    init: &str,
    (kernel, modules): (&kernels::Files, &[String]),
    dirs: &[&str],
    file: &Path,
) -> Result<()> {
    let mut image = base(paths, init)?;
    for dir in dirs.iter().chain(&["lib/modules"]) {
        image.dir(dir)?;
    }
    add_modules(&mut image, MODULES, kernel, modules)?;
    image.finish(file)
}

/// Kernel modules and the order in which an init loads them.
fn add_modules(
    image: &mut Archive,
    folder: &str,
    kernel: &kernels::Files,
    names: &[String],
) -> Result<()> {
    add_module_files(image, folder, kernel, names)?;
    add_order(image, &format!("{folder}/order"), kernel, names)
}

/// Kernel modules that the scenario loads when it wants them, each with its own order.
fn add_later(image: &mut Archive, kernel: &kernels::Files, names: &[String]) -> Result<()> {
    add_module_files(image, MODULES, kernel, names)?;
    for name in names {
        let file = format!("{MODULES}/later-{name}");
        add_order(image, &file, kernel, std::slice::from_ref(name))?;
    }
    Ok(())
}

/// Modules, and those that they need.
fn add_module_files(
    image: &mut Archive,
    folder: &str,
    kernel: &kernels::Files,
    names: &[String],
) -> Result<()> {
    for (name, content) in modules::closure(kernel, names)? {
        image.file(&format!("{folder}/{name}"), &content, Mode::Plain)?;
    }
    Ok(())
}

/// The order in which modules load, as a file.
fn add_order(
    image: &mut Archive,
    file: &str,
    kernel: &kernels::Files,
    names: &[String],
) -> Result<()> {
    let order = modules::order(kernel, names)?;
    image.file(file, order.as_bytes(), Mode::Plain)
}

/// C programs of the repository.
fn add_programs(paths: &Paths, image: &mut Archive, sources: &[String]) -> Result<()> {
    for source in sources {
        let program = program::build(paths, source)?;
        image.file(
            &format!("bin/{}", program.name),
            &program.content,
            Mode::Run,
        )?;
    }
    Ok(())
}

/// Programs of this machine, and each library that one of them needs.
fn add_tools(image: &mut Archive, names: &[String]) -> Result<()> {
    let mut files = BTreeSet::new();
    for name in names {
        let program =
            find_program(name).with_context(|| format!("{name} is missing: cargo xtask setup"))?;
        files.extend(libraries(&program)?);
        image.file(&format!("bin/{name}"), &read(&program)?, Mode::Run)?;
    }
    add_files(image, files.iter().map(PathBuf::as_path))
}

/// Files of this machine at the same paths, in folders that come with them.
fn add_files<'a>(image: &mut Archive, files: impl Iterator<Item = &'a Path>) -> Result<()> {
    let mut dirs = BTreeSet::new();
    for file in files {
        let path = file.strip_prefix("/").unwrap_or(file);
        let parents: Vec<_> = path.ancestors().skip(1).collect();
        for dir in parents.iter().rev().filter_map(|dir| dir.to_str()) {
            if !dir.is_empty() && dir != "lib" && dirs.insert(dir.to_owned()) {
                image.dir(dir)?;
            }
        }
        let name = path.to_str().context("a file whose path is no text")?;
        image.file(name, &read(file)?, Mode::Run)?;
    }
    Ok(())
}

/// Monitor, driver and tools, as far as the scenario has them.
fn add_parts(image: &mut Archive, parts: &Parts, release: &str) -> Result<()> {
    if let Some(monitor) = &parts.monitor {
        image.dir("usr")?;
        image.dir("usr/lib")?;
        image.dir("usr/lib/cellvisor")?;
        image.file(
            "usr/lib/cellvisor/cellvisor.bin",
            &read(monitor)?,
            Mode::Plain,
        )?;
    }
    if let Some(cellctl) = &parts.cellctl {
        image.file("bin/cellctl", &read(cellctl)?, Mode::Run)?;
    }
    if let Some(driver) = parts.drivers.get(release) {
        image.file("lib/modules/cellvisor.ko", &read(driver)?, Mode::Plain)?;
    }
    Ok(())
}

/// What members of links run, if the scenario has it.
fn add_link_tools(image: &mut Archive, scenario: &Scenario, tools: &[PathBuf]) -> Result<()> {
    let tools = tools.iter().filter(|_| scenario.cells.link_tools);
    for tool in tools {
        let name = tool.file_name().and_then(|name| name.to_str());
        let name = name.context("a program without a name")?;
        image.file(&format!("bin/{name}"), &read(tool)?, Mode::Run)?;
    }
    Ok(())
}

/// Kernels, initramfs and configs of the cells. `vmlinuz` is the first kernel.
fn add_cells(paths: &Paths, image: &mut Archive, scenario: &Scenario, parts: &Parts) -> Result<()> {
    for kernel in &scenario.cells.kernels {
        let files = kernels::files(paths, *kernel)?;
        let name = format!("{CELLS}/vmlinuz-{}", kernel.name());
        image.file(&name, &read(&files.image)?, Mode::Plain)?;
    }
    if let Some(first) = scenario.cells.kernels.first() {
        image.link(
            &format!("{CELLS}/vmlinuz"),
            &format!("vmlinuz-{}", first.name()),
        )?;
        let initramfs = cell::initramfs(paths, scenario, &parts.link_tools)?;
        image.file(
            &format!("{CELLS}/initrd.img"),
            &read(&initramfs)?,
            Mode::Plain,
        )?;
    }
    for source in &scenario.cells.payloads {
        let payload = program::build_payload(paths, source)?;
        let name = format!("{CELLS}/{}", payload.name);
        image.file(&name, &payload.content, Mode::Plain)?;
    }
    for source in &scenario.cells.narrow {
        let program = program::build_narrow(paths, source)?;
        let name = format!("{CELLS}/{}", program.name);
        image.file(&name, &program.content, Mode::Plain)?;
    }
    payloads::add(paths, image, CELLS, &scenario.cells)?;
    for slice in &scenario.cells.slices {
        let path = paths.repo(slice);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .context("a slice without a name")?;
        image.file(&format!("{CELLS}/{name}"), &read(&path)?, Mode::Plain)?;
    }
    Ok(())
}

/// Busybox with all its names, the folders that Linux wants, and an init from the repository.
fn base(paths: &Paths, init: &str) -> Result<Archive> {
    let mut image = Archive::new();
    for dir in ["bin", "sbin", "dev", "proc", "sys", "run", "tmp", "lib"] {
        image.dir(dir)?;
    }
    let busybox = read(Path::new(BUSYBOX)).context("install busybox-static (cargo xtask setup)")?;
    image.file("bin/busybox", &busybox, Mode::Run)?;
    for name in applets()? {
        image.link(&format!("bin/{name}"), "busybox")?;
    }
    image.file("init", &read(&paths.repo(init))?, Mode::Run)?;
    image.file("trouble", trouble().as_bytes(), Mode::Plain)?;
    Ok(image)
}

/// What a kernel must not say, for `grep -E -f`.
fn trouble() -> String {
    format!("{}\n", judge::TROUBLE.join("\n"))
}

/// The names that busybox answers to.
fn applets() -> Result<Vec<String>> {
    let list = Cmd::new(BUSYBOX).arg("--list").read()?;
    let names = list.lines().filter(|name| *name != "busybox");
    Ok(names.map(str::to_owned).collect())
}
