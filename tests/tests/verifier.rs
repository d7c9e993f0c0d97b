//! What this kernel's verifier says of every program, instructions walked and stack used, held to a budget. A target of its
//! own: it is the first that a kernel has to pass, and the one that no kernel in CI goes without.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failed step of a test ends it; measures are shown")]

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd, OwnedFd};

use aya::EbpfLoader;
use aya::maps::MapInfo;
use aya::programs::{ProgramInfo, Xdp};
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_type};
use aya_obj::{Function, Object};
use lb_common::abi::names;
use tests::objects;
use tests::vm::{PROGRAM, Program};

/// What each program may take on any kernel of the matrix: instructions walked, of the kernel's limit of one million,
/// and bytes of stack summed up over its functions; the kernel's limit is 512 for those that call one another. A
/// program that outgrows its budget gets another one here, on purpose: kernels differ by a third, and the oldest of
/// them is in the field.
const BUDGETS: [(&str, u32, u32); 3] = [
    ("snowshed/snowshed", 400_000, 3_136),
    ("snowshed/snowshed_shows", 400_000, 3_584),
    ("decap/snowshed_decap", 20_000, 256),
];
/// `BPF_LOG_STATS` of the kernel's `include/linux/bpf_verifier.h`.
const LOG_STATS: u32 = 4;

#[test]
fn every_program_is_verified_within_its_budget() {
    for object in ["snowshed", "decap"] {
        let bytes = std::fs::read(objects().join(format!("{object}.o"))).unwrap();
        let mut ebpf = EbpfLoader::new().map_max_entries("SLOTS", 1024).load(&bytes).unwrap();
        let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let program: &mut Xdp = ebpf.program_mut(&name).unwrap().try_into().unwrap();
            program.load().unwrap();
            let info = program.info().unwrap();
            let instructions = info.verified_instruction_count().unwrap();
            let stack = stack(&bytes, &name, &info);
            let program = Program { name: format!("{object}/{name}"), instructions, stack };
            println!("{PROGRAM}{}", serde_json::to_string(&program).unwrap());
            let budget = BUDGETS.iter().find(|(name, ..)| *name == program.name);
            let &(_, most_instructions, most_stack) = budget.unwrap_or_else(|| panic!("{program:?} has no budget"));
            assert!(instructions <= most_instructions, "{program:?}, budget {most_instructions} instructions");
            assert!(stack <= most_stack, "{program:?}, budget {most_stack} bytes of stack");
        }
    }
}

#[test]
fn the_program_that_normally_runs_has_nothing_of_captures() {
    let bytes = std::fs::read(objects().join("snowshed.o")).unwrap();
    let mut ebpf = EbpfLoader::new().map_max_entries("SLOTS", 1024).load(&bytes).unwrap();
    let mut of = |name: &str| {
        let program: &mut Xdp = ebpf.program_mut(name).unwrap().try_into().unwrap();
        program.load().unwrap();
        let info = program.info().unwrap();
        let maps = info
            .map_ids()
            .unwrap()
            .unwrap()
            .into_iter()
            .map(|id| MapInfo::from_id(id).unwrap().name_as_str().unwrap().to_owned());
        (maps.collect::<HashSet<_>>(), info.size_translated().unwrap())
    };
    let (normal, capturing) = (of(names::PROGRAM), of(names::CAPTURING_PROGRAM));
    let more: HashSet<&str> = capturing.0.difference(&normal.0).map(String::as_str).collect();
    let captures =
        [names::CAPTURE_FILTER, names::CAPTURE_EVENTS, names::CAPTURE_LOST, names::CAPTURE_RATE, names::CAPTURED];
    assert_eq!(more, HashSet::from(captures));
    assert_eq!(normal.0.difference(&capturing.0).count(), 0);
    assert!(normal.1 < capturing.1, "{} bytes of instructions, with captures {}", normal.1, capturing.1);
}

/// A packet's way as a function that the entry point calls costs every packet 6 to 8 ns.
#[test]
fn the_entry_point_is_the_packets_way_itself_and_not_a_call_of_it() {
    let object = Object::parse(&std::fs::read(objects().join("snowshed.o")).unwrap()).unwrap();
    for name in [names::PROGRAM, names::CAPTURING_PROGRAM] {
        let entry = &object.functions[&object.programs[name].function_key()];
        assert!(entry.instructions.len() > 1_000, "{name} has {} instructions", entry.instructions.len());
    }
}

/// Bytes of stack over all frames, from the verifier's log of a second load over the same maps.
fn stack(object: &[u8], name: &str, loaded: &ProgramInfo) -> u32 {
    let mut object = Object::parse(object).unwrap();
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let mut descriptors = HashMap::new();
    for id in loaded.map_ids().unwrap().unwrap() {
        let info = MapInfo::from_id(id).unwrap();
        descriptors.insert(info.name_as_str().unwrap().to_owned(), info.fd().unwrap());
    }
    let maps = object.maps.clone();
    let of = |name: &String| descriptors.get(name).map_or(-1, |map| map.as_fd().as_raw_fd());
    object.relocate_maps(maps.iter().map(|(name, map)| (name.as_str(), of(name), map)), &text).unwrap();
    object.relocate_calls(&text).unwrap();
    let function = &object.functions[&object.programs[name].function_key()];
    let log = load(function, loaded.btf_id().unwrap());
    // Linux 7 says `max` and the sum, older ones each frame: `216+0+0`.
    let depth =
        log.lines().find_map(|line| line.strip_prefix("stack depth ")).map(|depth| depth.trim_start_matches("max "));
    let frames: Option<Vec<u32>> = depth.and_then(|depth| depth.split('+').map(|frame| frame.parse().ok()).collect());
    frames.unwrap_or_else(|| panic!("no depth of the stack in: {log}")).iter().sum()
}

/// Loads a program and returns the verifier's statistics.
#[expect(unsafe_code, reason = "aya keeps the log of a program that was accepted to itself")]
fn load(function: &Function, btf_id: u32) -> String {
    let instructions = &function.instructions;
    // Which functions are global, and so looked at alone, stands in the BTF that the first load left in the kernel.
    let functions = function.func_info.func_info_bytes();
    // SAFETY: all zeros is a valid `union bpf_attr`.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    attribute.__bindgen_anon_6.__bindgen_anon_1.btf_id = btf_id;
    // SAFETY: `BPF_BTF_GET_FD_BY_ID` reads the field that was set.
    let btf = unsafe {
        libc::syscall(libc::SYS_bpf, bpf_cmd::BPF_BTF_GET_FD_BY_ID, &raw const attribute, size_of::<bpf_attr>())
    };
    assert!(btf >= 0, "BTF {btf_id}: {}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was just returned and nothing else knows it.
    let btf = unsafe { <OwnedFd as FromRawFd>::from_raw_fd(i32::try_from(btf).unwrap()) };
    let mut log = vec![0_u8; 64 * 1024];
    let license = c"GPL";
    // SAFETY: all zeros is a valid `union bpf_attr`.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the fields of `BPF_PROG_LOAD` are the ones that are read below.
    let fields = unsafe { &mut attribute.__bindgen_anon_3 };
    fields.prog_type = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
    fields.insns = instructions.as_ptr() as u64;
    fields.insn_cnt = u32::try_from(instructions.len()).unwrap();
    fields.license = license.as_ptr() as u64;
    fields.prog_btf_fd = u32::try_from(btf.as_raw_fd()).unwrap();
    fields.func_info_rec_size = u32::try_from(function.func_info_rec_size).unwrap();
    fields.func_info = functions.as_ptr() as u64;
    fields.func_info_cnt = u32::try_from(function.func_info.len()).unwrap();
    fields.log_level = LOG_STATS;
    fields.log_buf = log.as_mut_ptr() as u64;
    fields.log_size = u32::try_from(log.len()).unwrap();
    // SAFETY: every pointer in the attribute is to a value that lives until the end of this function; the lengths are
    // theirs.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, bpf_cmd::BPF_PROG_LOAD, &raw const attribute, size_of::<bpf_attr>()) };
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]).into_owned();
    assert!(answer >= 0, "{}: {text}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was just returned and nothing else knows it.
    drop(unsafe { <OwnedFd as FromRawFd>::from_raw_fd(i32::try_from(answer).unwrap()) });
    text
}
