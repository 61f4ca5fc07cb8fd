//! What a repository may throw at us: each answered in bounded time, with a clear problem.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// The problems' text; fails when it takes long or is long.
fn survive(bytes: &[u8]) -> String {
    let start = Instant::now();
    let checked = checked(bytes);
    let took = start.elapsed();
    assert!(took.as_secs() < 20, "took {took:?}");
    assert!(checked.problems.len() <= limits::PROBLEMS_PER_FILE + 1);
    for problem in &checked.problems {
        assert!(problem.text.chars().count() <= limits::PROBLEM_TEXT + 1);
        assert!(problem.message.len() < 20_000, "{}", problem.message.len());
    }
    checked
        .problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn told(bytes: impl AsRef<[u8]>, expected: &str) {
    let text = survive(bytes.as_ref());
    assert!(
        text.contains(expected),
        "wanted {expected}, got {}",
        problems::shorten(&text, 2000)
    );
    assert!(
        checked(bytes.as_ref())
            .catalog
            .unreadable
            .contains("app.yaml")
    );
}

#[test]
fn alias_bombs() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..25 {
        let p = format!("*a{}", i - 1);
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", [p.as_str(); 9].join(",")));
    }
    told(bomb, "once its aliases are expanded");
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for i in 1..100 {
        deep.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    told(deep, "nested deeper");
    told("a: &a [*a]\n", "inside its own anchor");
    told("a: *nobody\n", "not valid YAML");
    let merges = format!(
        "a: &a {{{}}}\n{}",
        (0..500).map(|i| format!("k{i}: 1, ")).collect::<String>(),
        "b: {<<: *a}\n".repeat(400)
    );
    told(merges, "once its aliases are expanded");
}

#[test]
fn nesting_bombs() {
    told("[".repeat(100_000), "nested deeper than 32 levels");
    told("{a: ".repeat(100_000), "nested deeper than 32 levels");
    told("- ".repeat(100_000), "nested deeper");
    told("? ".repeat(10_000), "a");
    let steps: String = (0..2000)
        .map(|i| format!("{}a:\n", " ".repeat(i)))
        .collect();
    told(
        &steps[..limits::SPEC_FILE_BYTES.min(steps.len() as u64) as usize],
        "nested deeper",
    );
}

#[test]
fn size_bombs() {
    told(
        vec![b'a'; limits::SPEC_FILE_BYTES as usize + 1],
        "more than the 1MiB of a spec file",
    );
    told(
        "---\na: 1\n".repeat(limits::DOCUMENTS_PER_FILE + 5),
        "more than 1000 documents",
    );
    told("- 1\n".repeat(250_000), "holds more than 200000 values");
    survive("a".repeat(1 << 20).as_bytes());
    survive(format!("\"{}", "\\n".repeat(500_000)).as_bytes());
    survive("#\n".repeat(500_000).as_bytes());
    survive("\n".repeat(1 << 20).as_bytes());
    survive(&b"a: b\n"[..].repeat(200_000));
    survive("&a ".repeat(300_000).as_bytes());
    survive("!!str ".repeat(100_000).as_bytes());
    survive("%YAML 1.2\n".repeat(50_000).as_bytes());
    survive("? a\n".repeat(100_000).as_bytes());
    survive(format!("a: |\n{}", " x\n".repeat(200_000)).as_bytes());
    survive("a: [".repeat(100).as_bytes());
}

#[test]
fn what_is_not_text() {
    told(b"a: \0b", "NUL byte");
    told(b"\xff\xfea", "not UTF-8");
    let problems = checked(b"a: 1\nb: \xc3\xa9\xff").problems;
    assert_eq!((problems[0].line, problems[0].column), (2, 5));
    told("a: \u{1}", "not valid YAML");
    assert_eq!(check(&format!("\u{feff}{}", spec(""))), "ok");
    assert_eq!(check(&spec("").replace('\n', "\r\n")), "ok");
    let link = Content::NotAFile {
        what: "a symlink".to_owned(),
    };
    for (content, why) in [
        (link, "this is a symlink"),
        (Content::TooLarge { size: 9 << 20 }, "9437184 bytes"),
    ] {
        let checked = validate_files(&defaults(), [("a.yaml".to_owned(), content)], &mut |_| {
            Lookup::Missing
        });
        assert!(checked.problems[0].message.contains(why));
        assert!(checked.catalog.unreadable.contains("a.yaml"));
    }
}

#[test]
fn many_problems_are_cut() {
    let lines: String = (0..500).map(|i| format!("x{i}: 1\n")).collect();
    let checked = checked(spec(&lines).as_bytes());
    assert_eq!(checked.problems.len(), limits::PROBLEMS_PER_FILE + 1);
    assert!(
        checked
            .problems
            .last()
            .unwrap()
            .message
            .contains("and 450 more problems")
    );
    let files = (0..500).map(|i| {
        (
            format!("f{i:03}.yaml"),
            Content::Bytes(spec(&lines).into_bytes()),
        )
    });
    let checked = validate_files(&defaults(), files, &mut |_| Lookup::Missing);
    assert_eq!(checked.problems.len(), limits::PROBLEMS);
}

#[test]
fn files_of_one_app_are_bounded() {
    let lines: String = (0..9).map(|i| format!("  /f{i}: f{i}\n")).collect();
    let yaml = spec(&format!("files:\n{lines}"));
    let file = ("app.yaml".to_owned(), Content::Bytes(yaml.into_bytes()));
    let checked = validate_files(&defaults(), [file], &mut |_| {
        Lookup::Found(vec![0; 200 << 10])
    });
    assert!(checked.problems[0].message.contains("together exceed 1MiB"));
    let lines: String = (0..200).map(|i| format!("  /f{i}: f{i}\n")).collect();
    assert!(check(&spec(&format!("files:\n{lines}"))).contains("more than 100 files"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survive(&bytes);
    }

    #[test]
    fn no_yaml_like_text_panics(text in "[-a-c:?&*!|>'\"%@\\[\\]{}, \n\t#<~0-9.]{0,200}") {
        survive(text.as_bytes());
    }

    /// A real spec with a piece replaced: never a panic, and problems point into the file.
    #[test]
    fn no_damaged_spec_panics(at in 0usize..2000, cut in 0usize..40, put in "[-a:?&*!|'\"\\[\\]{}, \n#<~0-9]{0,12}") {
        let text = include_str!("canonical.yaml");
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        let damaged = format!("{}{put}{}", &text[..at], &text[end..]);
        survive(damaged.as_bytes());
        let lines = damaged.lines().count() as u32 + 1;
        for problem in checked(damaged.as_bytes()).problems {
            prop_assert!(problem.line <= lines, "{problem}");
            render_problem(&problem, Some(&damaged));
        }
    }
}
