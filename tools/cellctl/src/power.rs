//! Turning the monitor on and off.

use crate::driver::Driver;
use crate::error::{Error, Kind, Result};
use crate::functions::acs;
use crate::journal::{self, Journal, Machine, Step, reserve_pages};
use crate::messages;
use crate::output::warn;
use crate::state::{MonitorRecord, StateDir};
use crate::system_plan::{self, Choices};
use cellvisor_abi::CHUNK_SIZE;
use cellvisor_abi::ioctl::Enable;
use cellvisor_abi::status::EnterStatus;
use cellvisor_planner::host::Host;
use std::fs;
use std::path::Path;
use vm_memory::{MmapRegion, VolatileMemory};

/// Reads the machine; asked again after CPUs came online.
pub(crate) type ReadHost<'a> = dyn Fn() -> Result<Host> + 'a;

/// Turns the monitor on with the image in the file.
///
/// # Errors
///
/// Whatever failed; CPUs and huge pages are as before then.
pub(crate) fn enable(
    machine: Machine<'_>,
    state: &StateDir,
    read_host: &ReadHost<'_>,
    image: &Path,
    choices: Choices,
) -> Result<(MonitorRecord, Enable)> {
    let help = "install the monitor's image, or name it: cellctl enable --image PATH";
    let bytes = fs::read(image).map_err(|e| Error::file("cannot read", image, &e, help))?;
    let offset = system_plan::plan_offset(&bytes, image)?;
    let host = read_host()?;
    system_plan::check_ram(&host)?;
    system_plan::check_tsc(machine.driver.info()?.tsc_khz)?;
    let memory = system_plan::memory_size(&host, choices)?;
    // What a crash before has left goes first: its record makes room for ours.
    undo_record(machine, state)?;
    let mut record = MonitorRecord::new(image, Vec::new(), memory);
    let mut journal = Journal::new(machine, state, &mut record);
    match enter(&mut journal, host, read_host, &bytes, offset, choices) {
        Ok(answer) => {
            journal.record.pause_ns = answer.pause_ns;
            // It is on, and how to get back is noted: this is but for `status`.
            if let Err(error) = journal.note() {
                warn(format!("the pause is not noted: {}", error.cause()));
            }
            Ok((record, answer))
        }
        Err(error) => Err(journal::with_leftovers(error, &journal.undo())),
    }
}

/// The steps of [`enable`]; the plan goes to `offset` in the monitor's memory.
fn enter(
    journal: &mut Journal<'_, MonitorRecord>,
    host: Host,
    read_host: &ReadHost<'_>,
    image: &[u8],
    offset: u64,
    choices: Choices,
) -> Result<Enable> {
    let driver = journal.machine().driver;
    let memory = journal.record.memory;
    let host = all_online(journal, host, read_host)?;
    journal.record.cpus = system_plan::cpus(&host);
    let cpus = u32::try_from(journal.record.cpus.len())
        .map_err(|e| Error::internal("cannot count the CPUs", e))?;
    acs::take(journal, &host)?;
    let plan = system_plan::plan(&host, driver.info()?.tsc_khz, choices);
    let length = plan.len() as u64;
    system_plan::check_fit(memory, offset, length)?;
    let region = place(journal, memory, &[(0, image), (offset, &plan)])?;
    // A crash after the next line must find the CPUs noted.
    journal.note()?;
    let answer = driver.enable(&region, offset, length, cpus)?;
    if answer.status == EnterStatus::Ok.code() {
        Ok(answer)
    } else {
        Err(messages::enter("cannot turn the monitor on", &answer))
    }
}

/// Brings every CPU online that may be: what is not stays outside of the monitor.
/// Under `nosmt` siblings stay offline, by Linux's word. Only CPUs that are online
/// show their APIC ids, so the host is read again if one was not.
fn all_online(
    journal: &mut Journal<'_, MonitorRecord>,
    host: Host,
    read_host: &ReadHost<'_>,
) -> Result<Host> {
    let offline: Vec<u32> = host
        .cpus
        .iter()
        .filter(|c| !c.online)
        .map(|c| c.linux)
        .collect();
    let linux = journal.machine().linux;
    for cpu in &offline {
        let step = Step::CpuOnline { cpu: *cpu };
        journal.take(step.clone(), || {
            match linux.set_cpu_online(*cpu, true) {
                Err(_) if linux.siblings_stay_offline() => warn(format!(
                    "CPU {cpu} stays offline (SMT is off), and outside of the monitor: no cell \
                     can have it, nor this Linux until the monitor is off"
                )),
                done => done?,
            }
            Ok((step, ()))
        })?;
    }
    if offline.is_empty() {
        return Ok(host);
    }
    read_host()
}

/// Takes `memory` bytes in huge pages and puts each part at its offset.
fn place(
    journal: &mut Journal<'_, MonitorRecord>,
    memory: u64,
    parts: &[(u64, &[u8])],
) -> Result<MmapRegion> {
    let pages = memory / CHUNK_SIZE;
    // Linux's boot node: the only one that every machine has.
    let node = None;
    reserve_pages(journal, node, CHUNK_SIZE, pages)?;
    let region = journal.machine().linux.map_huge(node, CHUNK_SIZE, pages)?;
    for (offset, bytes) in parts {
        let what = "cannot write the monitor's memory";
        let offset = usize::try_from(*offset).map_err(|e| Error::internal(what, e))?;
        region
            .get_slice(offset, bytes.len())
            .map_err(|e| Error::internal(what, e))?
            .copy_from(bytes);
    }
    Ok(region)
}

/// Turns the monitor off and gives its memory back. No cell may exist. `None` if
/// it was off already, and only what a crash had left was to be given back.
///
/// # Errors
///
/// The monitor's reason; it stays on then.
pub(crate) fn disable(machine: Machine<'_>, state: &StateDir) -> Result<Option<Enable>> {
    let what = "cannot turn the monitor off";
    if machine.driver.info()?.enabled == 0 {
        if undo_record(machine, state)? {
            return Ok(None);
        }
        return Err(Error::new(what, "it is off", "nothing is to be done").kind(Kind::Absent));
    }
    let answer = machine.driver.disable()?;
    if answer.status != EnterStatus::Ok.code() {
        return Err(messages::leave(what, &answer));
    }
    undo_record(machine, state)?;
    Ok(Some(answer))
}

/// Undoes what the monitor's record says, and forgets it; false if there is none.
fn undo_record(machine: Machine<'_>, state: &StateDir) -> Result<bool> {
    let Some(mut record) = state.monitor()? else {
        return Ok(false);
    };
    let mut errors = Journal::new(machine, state, &mut record).undo().into_iter();
    match errors.next() {
        None => Ok(true),
        Some(first) => Err(journal::with_leftovers(first, &errors.collect::<Vec<_>>())
            .note("the monitor is off; repeat `cellctl disable` for what is left")),
    }
}

/// The monitor is on; otherwise says how to turn it on.
pub(crate) fn require_on(driver: &dyn Driver, what: &str) -> Result<()> {
    if driver.info()?.enabled != 0 {
        return Ok(());
    }
    Err(Error::new(
        what,
        "the monitor is off",
        "turn it on: cellctl enable (or cellctl create FILE.toml)",
    )
    .kind(Kind::Absent))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::Fake;
    use crate::testing::pci::PORT;
    use cellvisor_abi::ABI_VERSION;
    use cellvisor_abi::image::MAGIC;
    use cellvisor_planner::host::{Bridge, Cpu, Function, Iommu, IommuKind, Region};

    /// A port that can keep apart what is behind it.
    fn port() -> Function {
        Function {
            address: PORT,
            vendor: 0x8086,
            device: 1,
            class: 0x06_0400,
            name: String::new(),
            node: None,
            group: None,
            driver: None,
            reset: Vec::new(),
            msix: 0,
            bars: Vec::new(),
            bridge: Some(Bridge {
                secondary: 1,
                subordinate: 3,
                windows: Vec::new(),
                acs: true,
            }),
            sriov: None,
            pf: None,
            conventional: false,
            acs: false,
            pin_only: false,
        }
    }

    pub(crate) fn host() -> Host {
        let cpu = |n| Cpu {
            linux: n,
            apic_id: n,
            package: 0,
            core: n,
            node: 0,
            online: true,
        };
        Host {
            cpus: vec![cpu(0), cpu(1)],
            iommus: vec![Iommu {
                kind: IommuKind::Vtd,
                base: 0xfed9_0000,
                segment: 0,
                all: true,
                scopes: Vec::new(),
            }],
            functions: vec![port()],
            iomem: vec![Region {
                start: 0x10_0000,
                end: 0xfff_ffff,
                name: "System RAM".into(),
            }],
            ..Host::default()
        }
    }

    pub(crate) fn image(dir: &Path) -> std::path::PathBuf {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(ABI_VERSION.to_le_bytes());
        bytes.resize(32, 0);
        bytes.extend(0x1_0000u64.to_le_bytes());
        bytes.resize(56, 0);
        let path = dir.join("cellvisor.bin");
        fs::write(&path, bytes).expect("writes");
        path
    }

    fn off() -> Fake {
        let fake = Fake::default();
        fake.now.borrow_mut().on = false;
        fake
    }

    #[test]
    fn monitor_goes_on_and_off_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path().join("run"));
        let fake = off();
        let before = fake.now.borrow().clone();
        let image = image(dir.path());
        let read = || Ok(host());
        let (record, _) =
            enable(fake.machine(), &state, &read, &image, Choices::default()).expect("turns on");
        assert_eq!(record.cpus.len(), 2);
        assert_eq!(fake.now.borrow().functions.acs, 0b1_1101, "peers apart");
        assert!(state.monitor().expect("reads").is_some());
        disable(fake.machine(), &state).expect("turns off");
        assert_eq!(*fake.now.borrow(), before);
        assert!(state.monitor().expect("reads").is_none());
    }

    #[test]
    fn sibling_that_must_stay_offline_stays_outside() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path().join("run"));
        let mut fake = off();
        fake.nosmt = Some(1);
        fake.now.borrow_mut().offline.insert(1);
        let before = fake.now.borrow().clone();
        let image = image(dir.path());
        let read = || {
            let mut host = host();
            host.cpus[1].online = false;
            Ok(host)
        };
        let choices = Choices::default();
        let (record, _) = enable(fake.machine(), &state, &read, &image, choices).expect("turns on");
        let linux: Vec<_> = record.cpus.iter().map(|c| c.linux).collect();
        assert_eq!(linux, [0], "the plan names what will arrive");
        disable(fake.machine(), &state).expect("turns off");
        assert_eq!(*fake.now.borrow(), before);
        fake.nosmt = None;
    }

    #[test]
    fn whichever_step_fails_all_is_as_before() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path().join("run"));
        let fake = off();
        let before = fake.now.borrow().clone();
        let image = image(dir.path());
        // The second CPU is offline at first.
        let read = || {
            let mut host = host();
            host.cpus[1].online = !fake.now.borrow().offline.contains(&1);
            Ok(host)
        };
        fake.now.borrow_mut().offline.insert(1);
        let before = {
            let mut b = before;
            b.offline.insert(1);
            b
        };
        for step in 1..=5 {
            fake.changes.set(0);
            fake.fail_at.set(Some(step));
            let error = enable(fake.machine(), &state, &read, &image, Choices::default())
                .expect_err("injected");
            assert!(
                error.to_string().contains("injected"),
                "step {step}: {error}"
            );
            assert_eq!(*fake.now.borrow(), before, "after step {step}");
            assert!(
                state.monitor().expect("reads").is_none(),
                "after step {step}"
            );
        }
        fake.fail_at.set(None);
        enable(fake.machine(), &state, &read, &image, Choices::default()).expect("turns on");
        disable(fake.machine(), &state).expect("turns off");
        assert_eq!(*fake.now.borrow(), before);
    }
}
