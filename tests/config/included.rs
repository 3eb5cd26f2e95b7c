//! `include`: files that are parts of another, and errors that name the file.

use std::path::Path;

use portcullis::config::Config;
use tempfile::TempDir;

/// Files in a directory of their own.
fn files(all: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in all {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    directory
}

fn load(directory: &TempDir) -> Result<Config, String> {
    let path = directory.path().join("main.toml");
    // Without the directory, whose name is another each time.
    let plain = |text: String| text.replace(&format!("{}/", directory.path().display()), "");
    Config::load(&path).map_err(|errors| plain(errors.to_string()))
}

fn refused(all: &[(&str, &str)]) -> String {
    load(&files(all)).expect_err("it is wrong")
}

const APP: &str = "[upstream.app]\nbuiltin = \"echo\"\n";

fn listener(name: &str, port: u16) -> String {
    format!("[listener.{name}]\nbind = [\"127.0.0.1:{port}\"]\nupstream = \"app\"\n")
}

#[test]
fn listeners_and_upstreams_come_from_any_file_in_the_order_of_names() {
    let main = format!("include = [\"conf.d/*.toml\", \"log.toml\"]\n{}", listener("a", 1));
    let directory = files(&[
        ("main.toml", &main),
        ("log.toml", "[log]\nlevel = \"debug\"\n"),
        ("conf.d/20-c.toml", &listener("c", 3)),
        ("conf.d/10-b.toml", &format!("{}{APP}", listener("b", 2))),
        ("conf.d/.hidden.toml", "nonsense"),
        ("conf.d/b.toml~", "nonsense"),
        ("conf.d/folder.toml/x", "nonsense"),
    ]);
    let config = load(&directory).expect("it is right");
    let names: Vec<&str> = config.listeners.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(config.upstreams.len(), 1);
    assert_eq!(config.log.level, portcullis::config::Level::Debug);
    let at = |name: &str| directory.path().join(name).display().to_string();
    let read = ["main.toml", "conf.d/10-b.toml", "conf.d/20-c.toml", "log.toml"].map(at);
    assert_eq!(config.files, read);
}

#[test]
fn a_file_that_includes_is_the_same_as_one_that_has_all() {
    let whole = format!("{}{APP}[log]\nlevel = \"warn\"\n", listener("a", 1));
    let parts = files(&[
        ("main.toml", &format!("include = [\"x/?.toml\"]\n{APP}")),
        ("x/1.toml", &listener("a", 1)),
        ("x/2.toml", "[log]\nlevel = \"warn\"\n"),
    ]);
    let config = load(&parts).expect("it is right");
    let expected = Config::parse(&whole, "p.toml", &|_| None).expect("it is right");
    assert_eq!(config.written(), expected.written());
    assert_ne!(config.file_sha256, None);
}

#[test]
fn an_error_names_the_file_its_line_and_the_other_place() {
    let main =
        format!("include = [\"b.toml\"]\n{}[log]\nlevel = \"loud\"\n{APP}", listener("a", 1));
    let b = format!("[log]\nlevel = \"info\"\n{}workers = 1\n[upstream.app]\n", listener("a", 2));
    let message = refused(&[("main.toml", &main), ("b.toml", &b)]);
    let expected =
        "b.toml:1: log: stands here for the second time, after line 5 of main.toml; join";
    assert!(message.contains(expected), "{message}");
    let main = main.replace("[log]\nlevel = \"loud\"\n", "");
    let b = format!("{}colour = 1\n{APP}{}", listener("a", 2), listener("b", 1));
    let message = refused(&[("main.toml", &main), ("b.toml", &b)]);
    let lines: Vec<&str> = message.lines().collect();
    let expected = [
        "b.toml:1: listener.a: stands here for the second time, after line 2 of main.toml; join",
        "b.toml:5: upstream.app: stands here for the second time, after line 5 of main.toml; join",
        "b.toml:8: listener.b.bind = \"127.0.0.1:1\": listener.a binds it already, on line 3 of \
         main.toml; write it once",
    ];
    assert_eq!(lines.len(), expected.len(), "{message}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{message}");
    }
}

#[test]
fn errors_stand_in_the_order_of_files_and_lines() {
    let main =
        format!("include = [\"b.toml\"]\n{}{APP}[log]\nlevel = \"loud\"\n", listener("a", 1));
    let b = "[gateway]\nworkers = 0\n[ring]\nbuffer_count = 0\n";
    let message = refused(&[("main.toml", &main), ("b.toml", b)]);
    let places: Vec<&str> = message.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(places, ["main.toml:8:", "b.toml:2:", "b.toml:4:"], "{message}");
    let message = refused(&[("main.toml", &main), ("b.toml", "workers ==")]);
    assert!(message.starts_with("b.toml:1: is not TOML: "), "{message}");
}

#[test]
fn what_cannot_be_included_is_refused() {
    let none: &[(&str, &str)] = &[];
    let b: &[(&str, &str)] = &[("b.toml", "")];
    let deep: &[(&str, &str)] = &[("b.toml", "include = [\"c.toml\"]"), ("c.toml", "")];
    for (include, others, expected) in [
        ("[\"b.toml\"]", none, "= \"b.toml\": b.toml: cannot be read: No such file"),
        ("[\"b/*.toml\"]", none, "= \"b/*.toml\": b cannot be read: No such file"),
        ("[\"*/b.toml\"]", b, "= \"*/b.toml\": has a * or a ? in a directory's name; write it as"),
        ("[\"*.toml\"]", b, "= \"*.toml\": main.toml is read already: it would include itself; n"),
        ("[\"b.toml\", \"./b.toml\"]", b, "= \"./b.toml\": ./b.toml is read already"),
        ("\"b.toml\"", b, "include = \"b.toml\": must be a list of files; write it as in [\"con"),
        ("[1]", b, "include = 1: must be a list of files"),
        ("[\"\"]", b, "include = \"\": must be a list of files"),
        ("[\"..\"]", b, "include = \"..\": must name a file"),
        ("[\".\"]", b, "include = \".\": "),
        ("[\"${NO_SUCH_VARIABLE}\"]", b, "include = \"${NO_SUCH_VARIABLE}\": the environment var"),
    ] {
        let main = format!("include = {include}\n{}{APP}", listener("a", 1));
        let all = [&[("main.toml", &*main)], others].concat();
        let message = refused(&all);
        assert!(message.contains(expected), "{message}\ninstead of\n{expected}");
        assert!(message.starts_with("main.toml:1: include = "), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    let main = format!("include = [\"b.toml\"]\n{}{APP}", listener("a", 1));
    let message = refused(&[&[("main.toml", &*main)], deep].concat());
    let expected = "b.toml:1: include = [\"c.toml\"]: stands in a file that is included, and such \
                    a file includes none; name those files in the first one";
    assert_eq!(message, expected);
}

#[test]
fn a_pattern_may_find_nothing() {
    let main = format!("include = [\"conf.d/*.toml\"]\n{}{APP}", listener("a", 1));
    let config = load(&files(&[("main.toml", &main), ("conf.d/README", "")])).expect("right");
    assert_eq!(config.listeners.len(), 1);
}

#[test]
fn a_text_without_a_file_includes_from_its_name() {
    let directory = files(&[("b.toml", APP)]);
    let main = format!("include = [\"b.toml\"]\n{}", listener("a", 1));
    let name = directory.path().join("not-there.toml").display().to_string();
    assert!(Config::parse(&main, &name, &|_| None).is_ok());
    assert!(Config::parse(&main, "not-there.toml", &|_| None).is_err());
    assert!(!Path::new("b.toml").exists());
}
