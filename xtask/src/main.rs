//! Setup, build, test, virtual machines, bench and demo of Snowshed: `cargo xtask <subcommand>`, one file each.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks to its user")]

mod bench;
mod build_ebpf;
mod demo;
mod dist;
mod openapi;
mod run;
mod setup;
mod table;
mod test;
mod vm;

use clap::Parser;

/// Everything a person does with this repository beyond `cargo build`.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
enum Command {
    /// Measure; tables on the screen, JSON in `target/bench/`.
    Bench(bench::Args),
    /// Build the kernel programs, and the digest of their sources.
    BuildEbpf(build_ebpf::Args),
    /// Write `docs/openapi.json` anew, from what stands beside the API's handlers.
    Openapi,
    /// Install what the other subcommands need (Debian and Ubuntu); a no-op when all is there.
    Setup(setup::Args),
    /// Show the product at work: three web servers, much load, and what is killed on the way.
    Demo(demo::Args),
    /// Make the Debian package in `target/dist/`.
    Dist(dist::Args),
    /// Run every tier of the tests; ends with one line `N passed, N failed`.
    Test(test::Args),
    /// Run the kernel tiers in virtual machines, on a matrix of distribution kernels.
    Vm(vm::Args),
}

fn main() -> std::process::ExitCode {
    let result = match Command::parse() {
        Command::Bench(args) => bench::run(&args),
        Command::BuildEbpf(args) => build_ebpf::run(&args),
        Command::Openapi => openapi::run(),
        Command::Setup(args) => setup::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Dist(args) => dist::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Vm(args) => vm::run(&args),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
