//! How many instructions each part of the path of a delivered message takes:
//! `cargo bench --bench instructions`.
//!
//! Needs valgrind. This program runs itself under callgrind once for each part and encoding,
//! collecting in the one function that runs the part. The count does not depend on what else
//! the machine does, so that two commits can be compared on a busy one. It knows nothing of
//! caches and of the kernel: see `hubstorm bench-self` for time.

#[path = "../tests/delivery_rig/mod.rs"]
mod delivery_rig;
#[path = "parts/part.rs"]
mod part;

use std::hint::black_box;
use std::process::{Command, ExitCode};

use delivery_rig::Rig;
use hubstorm::wire::DataMessage;
use part::{CASES, MESSAGES, Part, decoded, fresh};

/// Where callgrind collects; the name is its pattern.
const COLLECT: &str = "*collected_part*";

/// All that is counted happens in here.
#[inline(never)]
fn collected_part(part: Part, rig: &mut Rig, frames: &Rig, messages: &[DataMessage<'_>]) {
    black_box(part).run(rig, frames, messages);
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let done = match args.iter().position(|arg| arg == "--count") {
        Some(at) => count(args.get(at + 1..).unwrap_or_default()),
        None => table(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one part of one case once, for callgrind to count.
fn count(args: &[String]) -> Result<(), String> {
    let [wanted_case, wanted_part] = args else {
        return Err("--count wants a case and a part".into());
    };
    let case = CASES.iter().find(|(case, ..)| case == wanted_case);
    let part = Part::ALL.iter().find(|(_, name)| name == wanted_part);
    let (Some((_, subprotocol, data_type)), Some((part, _))) = (case, part) else {
        return Err(format!("there is no part {wanted_part} of {wanted_case}"));
    };
    let frames = fresh(*subprotocol, *data_type);
    let messages = decoded(&frames);
    let mut rig = fresh(*subprotocol, *data_type);
    collected_part(*part, &mut rig, &frames, &messages);
    Ok(())
}

/// Prints a row for each part: instructions per message of each case.
fn table() -> Result<(), String> {
    println!("instructions per message of 128 bytes, counted over {MESSAGES}\n");
    print!("| part |");
    CASES.iter().for_each(|(case, ..)| print!(" {case} |"));
    println!("\n| --- |{}", " --- |".repeat(CASES.len()));
    for (_, part) in Part::ALL {
        print!("| {part} |");
        for (case, ..) in CASES {
            print!(" {:.0} |", instructions(case, part)? / MESSAGES as f64);
        }
        println!();
    }
    Ok(())
}

/// What callgrind collects of one part.
fn instructions(case: &str, part: &str) -> Result<f64, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={COLLECT}"))
        .arg(me)
        .args(["--count", case, part])
        .output()
        .map_err(|error| format!("valgrind cannot be started ({error}): install it"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let collected = told
        .lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match collected {
        Some(collected) if output.status.success() && collected > 0.0 => Ok(collected),
        _ => Err(format!(
            "callgrind counted nothing of {part} of {case}:\n{told}"
        )),
    }
}
