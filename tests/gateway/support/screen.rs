//! A terminal's screen: what the bytes of a full-screen program leave on it.

/// A screen of fixed size, which understands what `top` writes and ignores colours.
pub(crate) struct Screen {
    cells: Vec<Vec<char>>,
    /// The lines as the last whole drawing left them.
    drawn: Vec<String>,
    /// Row and column of the next character.
    cursor: (usize, usize),
    /// Bytes of a character or a sequence that is not whole yet.
    pending: Vec<u8>,
    /// What has no place on it, or is not known here.
    strays: String,
}

impl Screen {
    /// An empty one.
    pub(crate) fn new(rows: usize, columns: usize) -> Screen {
        Screen {
            cells: vec![vec![' '; columns]; rows],
            drawn: vec![String::new(); rows],
            cursor: (0, 0),
            pending: Vec::new(),
            strays: String::new(),
        }
    }

    /// Its lines, without blanks at their ends, as the last whole drawing left them.
    pub(crate) fn lines(&self) -> &[String] {
        &self.drawn
    }

    /// What was written beside it, or is not understood.
    pub(crate) fn strays(&self) -> &str {
        &self.strays
    }

    /// Takes what the program wrote.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.pending.push(*byte);
            if self.is_whole() {
                let whole = std::mem::take(&mut self.pending);
                self.obey(&String::from_utf8_lossy(&whole));
            }
        }
    }

    /// Whether a character or a control sequence (ECMA-48, 5.4) is there.
    fn is_whole(&self) -> bool {
        match &self.pending[..] {
            [0x1b] => false,
            [0x1b, b'['] => false,
            [0x1b, b'[', .., last] => (0x40..=0x7e).contains(last),
            character => str::from_utf8(character).is_ok(),
        }
    }

    fn obey(&mut self, whole: &str) {
        let Some(sequence) = whole.strip_prefix("\x1b[") else {
            return self.put(whole);
        };
        let (parameters, kind) = sequence.split_at(sequence.len() - 1);
        let number = |nth: usize| parameters.split(';').nth(nth).and_then(|text| text.parse().ok());
        match kind {
            "H" => {
                let place = |nth| number(nth).unwrap_or(1_usize) - 1;
                self.cursor = (place(0), place(1));
            }
            "J" => self.cells.iter_mut().for_each(|row| row.fill(' ')),
            // Each drawing ends with it: the cursor is hidden.
            "l" if parameters == "?25" => {
                let line = |cells: &Vec<char>| String::from_iter(cells).trim_end().to_owned();
                self.drawn = self.cells.iter().map(line).collect();
            }
            // Colours, and modes of the terminal.
            "m" | "h" | "l" => {}
            _ => self.strays.push_str(whole),
        }
    }

    /// Each character is one column wide here, and no line goes on in the next one.
    fn put(&mut self, text: &str) {
        let (row, column) = self.cursor;
        match self.cells.get_mut(row).and_then(|line| line.get_mut(column)) {
            Some(cell) => text.chars().for_each(|character| *cell = character),
            None => self.strays.push_str(text),
        }
        self.cursor.1 += 1;
    }
}
