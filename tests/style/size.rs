//! How long a file, a function and a line may be.

use crate::code::Code;

/// Lines in a file.
pub(crate) const MAX_FILE_LINES: usize = 500;
/// Lines in a function, from `fn` to its last brace.
const MAX_FUNCTION_LINES: usize = 70;
/// Characters in a line.
const MAX_COLUMNS: usize = 100;

pub(crate) fn long_file(text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > MAX_FILE_LINES).then(|| format!("1: {lines} lines, more than {MAX_FILE_LINES}"))
}

pub(crate) fn long_lines(text: &str) -> Vec<String> {
    let numbered = text.lines().map(|line| line.chars().count()).enumerate();
    numbered
        .filter(|(_, columns)| *columns > MAX_COLUMNS)
        .map(|(index, columns)| format!("{}: {columns} columns", index + 1))
        .collect()
}

pub(crate) fn long_functions(code: &Code) -> Vec<String> {
    let mut findings = Vec::new();
    for start in code.lines_with("fn ") {
        let lines = function_lines(&code.lines[start - 1..]);
        if lines > MAX_FUNCTION_LINES {
            findings.push(format!("{start}: a function of {lines} lines"));
        }
    }
    findings
}

/// Lines of the function that begins in the first line; one without a body ends at its `;`.
fn function_lines(lines: &[String]) -> usize {
    let mut braces = 0;
    let mut brackets = 0;
    for (index, line) in lines.iter().enumerate() {
        let from = if index == 0 { line.find("fn ").unwrap_or(0) } else { 0 };
        for c in line[from..].chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                '{' => braces += 1,
                '}' => braces -= 1,
                ';' if braces == 0 && brackets <= 0 => return index + 1,
                _ => continue,
            }
            if c == '}' && braces <= 0 {
                return index + 1;
            }
        }
    }
    lines.len()
}

#[test]
fn what_is_too_long_is_found() {
    let function = |body: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(body));
    assert!(long_functions(&Code::of(&function(68))).is_empty());
    assert_eq!(long_functions(&Code::of(&function(69))), ["1: a function of 71 lines"]);
    let declared = format!("trait T {{\n    fn f(a: [u8; 2]);\n{}}}\n", "\n".repeat(100));
    assert!(long_functions(&Code::of(&declared)).is_empty());
    let pointer = format!("struct S {{\n    f: fn(u8),\n    g: [u8;\n{}2],\n}}", "\n".repeat(100));
    assert!(long_functions(&Code::of(&pointer)).is_empty());
    assert!(long_file(&"\n".repeat(500)).is_none() && long_file(&"\n".repeat(501)).is_some());
    assert!(long_lines(&"é".repeat(100)).is_empty());
    assert_eq!(long_lines(&format!("\n{}", "é".repeat(101))), ["2: 101 columns"]);
}
