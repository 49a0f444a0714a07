//! A plugin for QEMU's TCG, which does one of two things or both.
//!
//! `counters=PATH`: it counts, for each vCPU, the instructions of the guest and of the
//! monitor, and how often the monitor was entered by an exit. The counters are in a
//! file that both sides map, so that they can be read at any moment of a run;
//! [`Counters`] is its layout.
//!
//! `reached=PATH`: it notes which of the monitor's instructions were run, in a file with
//! a byte for each of the image: 1 where an instruction begins that was. QEMU translates
//! a block when it is about to run it, so what was translated counts as run; of a block
//! that ends early by a fault, the rest counts as well.
//!
//! Besides: `from=ADDRESS,to=ADDRESS,exit=ADDRESS[,exit=ADDRESS]`, in hexadecimal: where
//! the monitor's image is, and where exits arrive.
//!
//! Spec: QEMU, "QEMU TCG Plugins".
#![allow(unsafe_code)]

use memmap2::MmapRaw;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The plugin interface that this was written for.
#[unsafe(export_name = "qemu_plugin_version")]
pub static VERSION: c_int = 2;

/// Most vCPUs that are counted.
const VCPUS: usize = 256;

/// The counters of one vCPU, in the file one after the other.
#[repr(C)]
#[derive(Debug)]
pub struct Counters {
    /// Instructions outside the monitor.
    guest: AtomicU64,
    /// Instructions of the monitor.
    monitor: AtomicU64,
    /// Exits that arrived in the monitor.
    exits: AtomicU64,
}

/// What the arguments say.
#[derive(Debug)]
struct Plugin {
    counters: &'static [Counters],
    reached: &'static [AtomicU8],
    from: u64,
    to: u64,
    exits: Vec<u64>,
}

static PLUGIN: OnceLock<Plugin> = OnceLock::new();

/// A block of translated instructions; QEMU's.
#[repr(C)]
#[derive(Debug)]
pub struct Block {
    opaque: [u8; 0],
}

/// One instruction of a block; QEMU's.
#[repr(C)]
#[derive(Debug)]
pub struct Instruction {
    opaque: [u8; 0],
}

// SAFETY: as in QEMU's qemu-plugin.h, version 2 of the interface.
unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, f: extern "C" fn(u64, *mut Block));
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const Block) -> u64;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut Block,
        f: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
}

/// Bits besides the number of instructions in what a block's callback gets.
const MONITOR: usize = 1 << 32;
const EXIT: usize = 1 << 33;

/// QEMU calls it when it loads the plugin.
///
/// # Safety
///
/// `argv` are `argc` strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let arguments = (0..usize::try_from(argc).unwrap_or(0)).map(|index| {
        // SAFETY: the caller's promise.
        unsafe { CStr::from_ptr(*argv.add(index)) }.to_string_lossy()
    });
    let plugin = Plugin::new(arguments.map(std::borrow::Cow::into_owned));
    let installed = plugin.and_then(|plugin| {
        let twice = |_| "it is loaded twice".to_owned();
        PLUGIN.set(plugin).map_err(twice)
    });
    if let Err(why) = installed {
        eprintln!("exit-counter: {why}");
        return 1;
    }
    // SAFETY: `id` is this plugin's, and the function is kept.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    0
}

impl Plugin {
    fn new(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut plugin = Self {
            counters: &[],
            reached: &[],
            from: 0,
            to: 0,
            exits: Vec::new(),
        };
        let mut reached = None;
        for argument in arguments {
            let (key, value) = argument.split_once('=').unwrap_or((&argument, ""));
            let address = || {
                u64::from_str_radix(value.trim_start_matches("0x"), 16)
                    .map_err(|why| format!("{argument}: {why}"))
            };
            match key {
                "counters" => {
                    let map = map(value, VCPUS * size_of::<Counters>());
                    let map = map.map_err(|why| format!("{value}: {why}"))?;
                    // SAFETY: the mapping has room for that many, starts on a page, is
                    // never unmapped, and is changed by atomic operations alone.
                    plugin.counters =
                        unsafe { std::slice::from_raw_parts(map.as_ptr().cast(), VCPUS) };
                }
                "reached" => reached = Some(value.to_owned()),
                "from" => plugin.from = address()?,
                "to" => plugin.to = address()?,
                "exit" => plugin.exits.push(address()?),
                _ => return Err(format!("unknown argument {argument}")),
            }
        }
        if let Some(path) = reached {
            let bytes = plugin.to.saturating_sub(plugin.from);
            let bytes = usize::try_from(bytes).map_err(|why| why.to_string())?;
            let map = map(&path, bytes).map_err(|why| format!("{path}: {why}"))?;
            // SAFETY: as that of the counters.
            plugin.reached = unsafe { std::slice::from_raw_parts(map.as_ptr().cast(), bytes) };
        }
        Ok(plugin)
    }

    /// Notes the instructions of a block of the monitor that is about to run.
    fn note(&self, block: *const Block, count: usize) {
        for index in 0..count {
            // SAFETY: QEMU's block is valid during the callback that has it, and so are
            // its `count` instructions.
            let at = unsafe { qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(block, index)) };
            let place = at
                .checked_sub(self.from)
                .and_then(|at| usize::try_from(at).ok());
            if let Some(byte) = place.and_then(|place| self.reached.get(place)) {
                byte.store(1, Ordering::Relaxed);
            }
        }
    }
}

/// Makes a file of so many zeros and maps it, for as long as QEMU runs.
fn map(path: &str, bytes: usize) -> std::io::Result<&'static MmapRaw> {
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(true);
    let file = file.open(path)?;
    file.set_len(bytes as u64)?;
    Ok(Box::leak(Box::new(MmapRaw::map_raw(&file)?)))
}

/// A block was translated: asks for a call whenever it is run, if runs are counted.
extern "C" fn translated(_id: u64, block: *mut Block) {
    let Some(plugin) = PLUGIN.get() else { return };
    // SAFETY: QEMU's block is valid during this call.
    let (count, start) = unsafe { (qemu_plugin_tb_n_insns(block), qemu_plugin_tb_vaddr(block)) };
    let mut data = count;
    if (plugin.from..plugin.to).contains(&start) {
        data |= MONITOR;
        plugin.note(block, count);
    }
    if plugin.counters.is_empty() {
        return;
    }
    if plugin.exits.contains(&start) {
        data |= EXIT;
    }
    let data = std::ptr::without_provenance_mut(data);
    // SAFETY: as above; the callback takes its data for a number, and reads no
    // registers (flag 0).
    unsafe { qemu_plugin_register_vcpu_tb_exec_cb(block, run, 0, data) };
}

/// A block begins to run.
extern "C" fn run(vcpu: c_uint, data: *mut c_void) {
    let data = data.addr();
    let all = PLUGIN.get().map_or(&[][..], |plugin| plugin.counters);
    let Some(counters) = all.get(vcpu as usize) else {
        return;
    };
    let kind = match data & MONITOR {
        0 => &counters.guest,
        _ => &counters.monitor,
    };
    kind.fetch_add(data as u64 & 0xffff_ffff, Ordering::Relaxed);
    if data & EXIT != 0 {
        counters.exits.fetch_add(1, Ordering::Relaxed);
    }
}
