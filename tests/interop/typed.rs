//! Programs that one types at, and that answer in lines.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::wait_until;

/// So many lines of a program are shown where a test fails.
const LAST_LINES: usize = 60;

/// A program that one types at.
pub(crate) struct Typed {
    child: Child,
    input: ChildStdin,
    said: Arc<Mutex<String>>,
    heard: usize,
}

impl Typed {
    /// Starts it; dropping it kills it.
    pub(crate) fn start(command: &mut Command) -> Typed {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("an installed program runs");
        let input = child.stdin.take().expect("stdin is piped");
        let said = Arc::new(Mutex::new(String::new()));
        let mut output = child.stdout.take().expect("stdout is piped");
        let mut errors = child.stderr.take().expect("stderr is piped");
        collect(said.clone(), move |bytes| output.read(bytes));
        collect(said.clone(), move |bytes| errors.read(bytes));
        Typed { child, input, said, heard: 0 }
    }

    /// Types a line.
    pub(crate) fn types(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).expect("it reads");
    }

    /// Waits until it says this, behind what was waited for before.
    pub(crate) fn hears(&mut self, words: &str) {
        let (said, from) = (self.said.clone(), self.heard);
        let find = || said.lock().expect("no panic")[from..].find(words);
        wait_until(words, || find().is_some());
        self.heard = from + find().expect("it was there") + words.len();
    }

    /// All that it has said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        if thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            eprintln!("the program's last lines of {}:\n{}", lines.len(), last.join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(
    said: Arc<Mutex<String>>,
    mut read: impl FnMut(&mut [u8]) -> std::io::Result<usize> + Send + 'static,
) {
    thread::spawn(move || {
        let mut bytes = [0; 1000];
        while let Ok(count @ 1..) = read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            said.lock().expect("no panic").push_str(&text);
        }
    });
}
