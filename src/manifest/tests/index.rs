//! The index says the same as a fresh look at the tree, whatever led there.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::AppKey;

#[derive(Default)]
struct Repository {
    files: BTreeMap<String, String>,
    index: Index,
    reads: usize,
}

impl Repository {
    /// Writes or (`None`) removes files in one commit; returns the touched apps.
    fn commit(&mut self, changes: &[(&str, Option<&str>)]) -> BTreeSet<String> {
        let mut changed = Vec::new();
        for (path, text) in changes {
            let content = match text {
                Some(text) => {
                    self.files.insert((*path).to_owned(), (*text).to_owned());
                    Content::Bytes(text.as_bytes().to_vec())
                }
                None => {
                    self.files.remove(*path);
                    Content::Removed
                }
            };
            changed.push(ChangedFile {
                path: (*path).to_owned(),
                content,
            });
        }
        let (files, reads) = (&self.files, &mut self.reads);
        let touched = self.index.update(&defaults(), changed, &mut |path| {
            *reads += 1;
            look(files, path)
        });
        assert_eq!(*self.index.catalog(), self.fresh());
        touched
            .into_iter()
            .map(|key: AppKey| key.to_string())
            .collect()
    }

    fn fresh(&self) -> crate::model::Catalog {
        let files = self.files.iter();
        let files =
            files.map(|(path, text)| (path.clone(), Content::Bytes(text.as_bytes().to_vec())));
        let files: Vec<_> = files.filter(|(path, _)| is_spec_path(path)).collect();
        validate_files(&defaults(), files, &mut |path| look(&self.files, path)).catalog
    }

    fn problems(&self) -> String {
        let problems = self.index.catalog().problems.iter();
        problems.map(|p| p.to_string() + "\n").collect()
    }
}

fn look(files: &BTreeMap<String, String>, path: &str) -> Lookup {
    match files.get(path) {
        Some(text) => Lookup::Found(text.as_bytes().to_vec()),
        None => Lookup::Missing,
    }
}

fn app(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

#[test]
fn touched_are_exactly_the_apps_that_differ() {
    let mut repo = Repository::default();
    let (a, b) = (app("a", "image: a:1"), app("b", "image: b:1"));
    assert_eq!(
        repo.commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))]),
        set(&["shop/a", "shop/b"])
    );
    assert_eq!(repo.commit(&[("a.yaml", Some(&a))]), set(&[]));
    assert_eq!(
        repo.commit(&[("a.yaml", Some(&app("a", "image: a:2")))]),
        set(&["shop/a"])
    );
    assert_eq!(
        repo.commit(&[("README.md", Some("x")), ("b.yaml", None)]),
        set(&["shop/b"])
    );
    assert_eq!(repo.commit(&[("a.yaml", Some("{"))]), set(&["shop/a"]));
    assert!(repo.index.catalog().unreadable.contains("a.yaml"));
    assert_eq!(
        repo.commit(&[("c/a.yml", Some(&a)), ("a.yaml", None)]),
        set(&["shop/a"])
    );
    assert_eq!(repo.index.catalog().spec_files, 1);
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn a_changed_file_touches_the_apps_that_name_it() {
    let mut repo = Repository::default();
    let spec = app("a", "image: a:1, files: {/etc/a: ../conf/a.conf}");
    repo.commit(&[("apps/a.yaml", Some(&spec)), ("conf/a.conf", Some("1"))]);
    assert!(repo.index.is_referenced("conf/a.conf") && !repo.index.is_referenced("conf/b.conf"));
    let digest = |repo: &Repository| {
        repo.index
            .catalog()
            .apps
            .values()
            .next()
            .unwrap()
            .digest
            .clone()
    };
    let before = digest(&repo);
    assert_eq!(repo.commit(&[("conf/a.conf", Some("2"))]), set(&["shop/a"]));
    assert_ne!(before, digest(&repo));
    assert_eq!(repo.commit(&[("conf/a.conf", Some("2"))]), set(&[]));
    assert_eq!(repo.commit(&[("conf/a.conf", None)]), set(&["shop/a"]));
    assert!(repo.problems().contains("there is no file \"conf/a.conf\""));
    assert_eq!(repo.commit(&[("conf/a.conf", Some("1"))]), set(&["shop/a"]));
    assert_eq!(before, digest(&repo));
    repo.commit(&[("apps/a.yaml", None)]);
    assert!(!repo.index.is_referenced("conf/a.conf"));
}

#[test]
fn the_second_declaration_is_refused_until_the_first_is_gone() {
    let mut repo = Repository::default();
    let (one, two) = (app("a", "image: a:1"), app("a", "image: a:2"));
    repo.commit(&[("b.yaml", Some(&two))]);
    assert_eq!(repo.commit(&[("a.yaml", Some(&one))]), set(&["shop/a"]));
    let problems = repo.problems();
    assert!(
        problems.contains("b.yaml:1:1: app shop/a is declared twice: first in a.yaml:1"),
        "{problems}"
    );
    // The first moves within its file: the second's problem follows.
    repo.commit(&[("a.yaml", Some(&format!("\n\n{one}")))]);
    assert!(repo.problems().contains("first in a.yaml:3"));
    assert_eq!(
        repo.commit(&[("b.yaml", Some(&app("a", "image: a:3")))]),
        set(&[])
    );
    assert_eq!(repo.commit(&[("a.yaml", None)]), set(&["shop/a"]));
    assert_eq!(repo.problems(), "");
    // An invalid first one still owns the name.
    assert_eq!(
        repo.commit(&[("a.yaml", Some(&app("a", "image: A")))]),
        set(&["shop/a"])
    );
    assert!(repo.index.catalog().apps.is_empty());
    repo.commit(&[
        ("a.yaml", None),
        ("b.yaml", Some(&format!("{one}---\n{two}"))),
    ]);
    assert!(
        repo.problems()
            .contains("b.yaml:6:1: app shop/a is declared twice: first in b.yaml:1")
    );
}

#[test]
fn only_what_is_below_the_root_counts() {
    let defaults = Defaults::new(ProjectName::new("p").unwrap(), "/deploy/");
    let file = |path: &str, spec: &str| ChangedFile {
        path: path.to_owned(),
        content: Content::Bytes(app("a", spec).into_bytes()),
    };
    let mut index = Index::new();
    index.update(
        &defaults,
        vec![
            file("other/a.yaml", "image: a"),
            file("deployed.yaml", "image: a"),
        ],
        &mut |_| Lookup::Missing,
    );
    assert_eq!(index.catalog().spec_files, 0);
    index.update(
        &defaults,
        vec![file(
            "deploy/x/a.yaml",
            "image: a, files: {/a: ../../secret}",
        )],
        &mut |_| Lookup::Found(vec![]),
    );
    assert!(
        index.catalog().problems[0]
            .message
            .contains("leads out of the source's folder")
    );
    index.update(
        &defaults,
        vec![file(
            "deploy/x/a.yaml",
            "image: a, files: {/a: ../../deploy/b}",
        )],
        &mut |_| Lookup::Found(vec![]),
    );
    assert_eq!(index.catalog().problems, []);
}

#[test]
fn an_update_reads_only_what_changed() {
    let mut repo = Repository::default();
    let specs: Vec<(String, String)> = (0..300)
        .map(|i| {
            (
                format!("a{i}.yaml"),
                app(&format!("a{i}"), "image: a, files: {/c: c.conf}"),
            )
        })
        .collect();
    let mut changes: Vec<(&str, Option<&str>)> = specs
        .iter()
        .map(|(p, t)| (p.as_str(), Some(t.as_str())))
        .collect();
    changes.push(("c.conf", Some("x")));
    repo.commit(&changes);
    repo.reads = 0;
    repo.commit(&[("a7.yaml", Some(&app("a7", "image: b, files: {/c: c.conf}")))]);
    assert_eq!(repo.reads, 1);
}

#[test]
fn spec_paths() {
    for (path, is) in [
        ("a.yaml", true),
        ("x/a.yml", true),
        ("x/a.json", true),
        ("a.YAML", false),
        (".yaml", false),
        ("x/.yaml", false),
        ("a.yaml.tmpl", false),
        (".evenkeel/schema.json", false),
        ("x/.evenkeel/schema.json", false),
    ] {
        assert_eq!(is_spec_path(path), is, "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// `Repository::commit` compares with a fresh look after every step.
    #[test]
    fn any_history_ends_where_a_fresh_look_does(
        steps in proptest::collection::vec((0usize..4, 0usize..9), 1..25),
    ) {
        let (a, b) = (app("a", "image: a"), app("b", "image: b"));
        let texts = [
            None,
            Some(a.clone()),
            Some(b.clone()),
            Some(format!("{a}---\n{b}")),
            Some(app("a", "image: a, files: {/f: f.conf}")),
            Some(app("a", "imag: a")),
            Some(format!("{b}---\nnot: ours\n---\n{{")),
            Some(app("b", "image: c, files: {/f: z.yaml}")),
            Some("apiVersion: evenkeel.dev/v1\nkind: Source\nmetadata: {name: s}\nspec: {url: \"https://g.example/x\"}\n".to_owned()),
        ];
        let paths = ["f.conf", "k.yaml", "m.yaml", "z.yaml"];
        let mut repo = Repository::default();
        for (path, text) in steps {
            let before = repo.index.catalog().clone();
            let touched = repo.commit(&[(paths[path], texts[text].as_deref())]);
            let after = repo.index.catalog();
            for name in ["shop/a", "shop/b"] {
                let key: AppKey = name.parse().unwrap();
                let same = before.apps.get(&key) == after.apps.get(&key)
                    && before.invalid.get(&key) == after.invalid.get(&key);
                prop_assert_eq!(touched.contains(name), !same);
            }
        }
    }
}
