//! What a core dump of this process has in it (core(5)).

use std::io;

use super::kernel_files::KernelFiles;

/// The parts that a dump has, as bits.
const FILTER: &str = "proc/self/coredump_filter";
/// The kernel's default: anonymous memory, huge pages, and the first page of each ELF file.
const DEFAULT: u32 = 0x33;
/// The last of these alone, with the registers, which every dump has.
const WITHOUT_MEMORY: u32 = 0x10;

/// What became of the attempt to leave memory out of dumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is left out from now on, or was before.
    Out,
    /// Somebody has chosen for this process what its dumps have, and that stays.
    AsChosen,
}

/// Has dumps leave out all memory that only this process has, and with it keys and what they
/// protect: they lie in many places, and the stacks are some of them. `CoredumpFilter=` of a
/// systemd unit with anything but the default is somebody's choice.
///
/// # Errors
/// When the kernel does not let us say so; then it makes no dump either, or none is asked for.
pub fn leave_memory_out() -> io::Result<Left> {
    leave_out_of(KernelFiles::of_this_host())
}

fn leave_out_of(files: KernelFiles<'_>) -> io::Result<Left> {
    let text = std::fs::read_to_string(files.path(FILTER))?;
    let filter = u32::from_str_radix(text.trim(), 16).map_err(io::Error::other)?;
    match filter {
        DEFAULT => std::fs::write(files.path(FILTER), format!("{WITHOUT_MEMORY:#x}"))?,
        WITHOUT_MEMORY => {}
        _ => return Ok(Left::AsChosen),
    }
    Ok(Left::Out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_replaced_and_a_choice_stays() {
        let root = tempfile::tempdir().expect("a directory");
        let files = KernelFiles::below(root.path());
        assert!(leave_out_of(files).is_err(), "there is no such file");
        std::fs::create_dir_all(root.path().join("proc/self")).expect("made");
        for (before, after, left) in [
            ("00000033\n", "0x10", Left::Out),
            ("00000010\n", "00000010\n", Left::Out),
            ("0000007f\n", "0000007f\n", Left::AsChosen),
        ] {
            std::fs::write(files.path(FILTER), before).expect("written");
            assert_eq!(leave_out_of(files).ok(), Some(left), "{before}");
            let now = std::fs::read_to_string(files.path(FILTER)).expect("there");
            assert_eq!(now, after);
        }
    }
}
