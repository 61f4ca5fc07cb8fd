use super::*;

const APP: &str =
    "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {name: NAME}\nspec: {image: a:1}\n";

fn app(name: &str) -> String {
    APP.replace("NAME", name)
}

#[test]
fn documents_of_others_are_counted_and_ours_are_told_apart() {
    for (yaml, expected, ignored, unreadable) in [
        ("", "ok", 0, false),
        ("# only a comment\n", "ok", 0, false),
        ("a: 1\n", "ok", 1, false),
        ("- 1\n---\njust text\n", "ok", 2, false),
        (
            "apiVersion: apps/v1\nkind: App\nwhat: ever\n",
            "ok",
            1,
            false,
        ),
        (
            "apiVersion: evenkeel.dev/v2\nkind: App\n",
            "did you mean \"evenkeel.dev/v1\"?",
            0,
            true,
        ),
        (
            "apiVersion: evenkeal.dev/v1\nkind: App\n",
            "did you mean \"evenkeel.dev/v1\"?",
            0,
            true,
        ),
        (
            "kind: App\nmetadata: {}\nspec: {}\n",
            "\"apiVersion\" is missing",
            0,
            true,
        ),
        (
            "apiVersion: evenkeel.dev/v1\n",
            "\"kind\" is missing",
            0,
            true,
        ),
        (
            "apiVersion: evenkeel.dev/v1\nkind: Ap\n",
            "kind \"Ap\" is not known (did you mean \"App\"?)",
            0,
            true,
        ),
        (
            "apiVersion: evenkeel.dev/v1\nkind: Job\n",
            "kind Job is not supported yet",
            0,
            false,
        ),
        (
            "apiVersion: evenkeel.dev/v1\nkind: Project\n",
            "kind Project is not supported yet",
            0,
            false,
        ),
        (
            "apiVersion: evenkeel.dev/v1\nkind: Secret\n",
            "kind Secret is not supported yet",
            0,
            false,
        ),
        (
            "apiVersion: evenkeel.dev/v1\nkind: App\nspec: {image: a}\n",
            "\"metadata\" is missing",
            0,
            true,
        ),
        (
            "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {name: A}\nspec: {image: a}\n",
            "is not a DNS label",
            0,
            true,
        ),
        (
            "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {name: a}\n",
            "\"spec\" is missing",
            0,
            false,
        ),
    ] {
        let told = check(yaml);
        assert!(told.contains(expected), "{yaml}: {told}");
        let catalog = checked(yaml.as_bytes()).catalog;
        assert_eq!(catalog.ignored_documents, ignored, "{yaml}");
        assert_eq!(!catalog.unreadable.is_empty(), unreadable, "{yaml}");
        assert!(catalog.apps.is_empty());
    }
}

#[test]
fn a_broken_document_costs_itself_only() {
    let yaml = format!("{}---\nkind: [\n---\n{}---\na: b: c\n", app("a"), app("b"));
    let checked = checked(yaml.as_bytes());
    let names: Vec<String> = checked
        .catalog
        .apps
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["shop/a", "shop/b"]);
    assert!(checked.catalog.unreadable.contains("app.yaml"));
    assert_eq!(checked.problems.len(), 2, "{:?}", checked.problems);
    assert!(checked.problems[1].line >= 11);
}

#[test]
fn an_invalid_app_is_known_by_name() {
    let yaml = app("a").replace("image: a:1", "image: A B");
    let catalog = checked(yaml.as_bytes()).catalog;
    assert!(catalog.apps.is_empty() && catalog.unreadable.is_empty());
    let (file, problems) = &catalog.invalid[&"shop/a".parse().unwrap()];
    assert_eq!((file.as_str(), problems.len()), ("app.yaml", 1));
}

#[test]
fn json_reads_like_yaml() {
    let json = r#"{
	"apiVersion": "evenkeel.dev/v1", "kind": "App",
	"metadata": {"name": "a", "project": "p"},
	"spec": {"image": "a:1", "replicas": 2, "env": {"A": "\ud83d\ude00 \/ \u00e9", "B": "8"}}
}"#;
    let checked = checked(json.as_bytes());
    assert_eq!(checked.problems, []);
    let app = &checked.catalog.apps[&"p/a".parse().unwrap()];
    assert_eq!(app.spec.replicas, 2);
    assert_eq!(app.spec.workload.env["A"], "😀 / é");
}

#[test]
fn anchors_and_merges_work() {
    let yaml = "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {name: a}\nspec:\n  image: a:1\n  env: &env {A: x, B: y}\n  labels: 1\n";
    assert!(check(yaml).contains("unknown key \"labels\""));
    let yaml = "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {name: a, labels: &l {A: x, B: y}}\nspec:\n  image: a:1\n  env: {<<: *l, B: z}\n";
    let checked = checked(yaml.as_bytes());
    assert_eq!(checked.problems, []);
    let env = &checked
        .catalog
        .apps
        .values()
        .next()
        .unwrap()
        .spec
        .workload
        .env;
    assert_eq!((env["A"].as_str(), env["B"].as_str()), ("x", "z"));
    let told = check(&yaml.replace("{A: x, B: y}", "{1A: x}"));
    assert!(told.contains("6:13 spec.env.1A: "), "{told}");
}

#[test]
fn forges_are_checked() {
    let told = |forge: &str| {
        check(&format!(
            "apiVersion: evenkeel.dev/v1\nkind: Source\nmetadata: {{name: s}}\nspec: {{url: \"https://g.example/a\", forge: {{{forge}}}}}\n"
        ))
    };
    // Right in itself, but not for Git to say.
    let only_for_operators = |forge: &str| {
        let told = told(forge);
        assert_eq!(told.lines().count(), 1, "{forge}: {told}");
        assert!(told.contains("spec.forge"), "{forge}: {told}");
        assert!(told.contains("may not name a forge"), "{forge}: {told}");
    };
    let rest = "repository: a/b, tokenFile: /run/t";
    only_for_operators(&format!("kind: github, {rest}"));
    only_for_operators(&format!(
        "kind: gitea, apiUrl: \"https://f.example\", {rest}"
    ));
    for forge in [
        "kind: bitbucket, repository: a/b, tokenFile: /run/t, username: ann@team.example",
        "kind: bitbucketDataCenter, apiUrl: \"https://b.example\", repository: ~ann/b, tokenFile: /run/t",
        "kind: github, repository: a/b, app: {id: \"12\", privateKeyFile: /run/k, installationId: 34}",
    ] {
        only_for_operators(forge);
    }
    for (forge, why) in [
        ("repository: a/b, tokenFile: /run/t", "\"kind\" is missing"),
        (
            "kind: gitea, repository: a/b, tokenFile: /run/t",
            "\"apiUrl\" is missing",
        ),
        (
            "kind: github, tokenFile: /run/t",
            "\"repository\" is missing",
        ),
        ("kind: github, repository: a/b", "\"tokenFile\" is missing"),
        (
            "kind: github, repository: a, tokenFile: /run/t",
            "not of the form owner/name",
        ),
        ("kind: github, repository: a/b, tokenFile: t", "absolute"),
        (
            "kind: gitlab, apiUrl: \"https://me:hunter2@f\", repository: a/b, tokenFile: /run/t",
            "a user or a password",
        ),
        (
            "kind: sourcehut, repository: a/b, tokenFile: /run/t",
            "spec.forge.kind",
        ),
        (
            "kind: github, repository: a/b, tokenFile: /run/t, app: {id: \"1\", privateKeyFile: /run/k}",
            "app: it stands in place of tokenFile",
        ),
        (
            "kind: gitlab, repository: a/b, app: {id: \"1\", privateKeyFile: /run/k}",
            "only GitHub has Apps",
        ),
        (
            "kind: github, repository: a/b, app: {id: \"1\"}",
            "\"privateKeyFile\" is missing",
        ),
        (
            "kind: github, repository: a/b, tokenFile: /run/t, username: ann",
            "username: it is for Bitbucket",
        ),
    ] {
        let told = told(forge);
        assert!(told.contains(why), "{forge}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn sources_are_checked() {
    let source = |spec: &str| {
        format!(
            "apiVersion: evenkeel.dev/v1\nkind: Source\nmetadata: {{name: s}}\nspec: {{{spec}}}\n"
        )
    };
    for url in [
        "https://git.example/a.git",
        "http://git.example:8080/a",
        "ssh://git@git.example/a",
        "git@git.example:team/a.git",
    ] {
        let checked = checked(source(&format!("url: \"{url}\"")).as_bytes());
        assert_eq!(checked.problems, [], "{url}");
        let (spec, file) = checked.catalog.sources.values().next().unwrap();
        assert_eq!(
            (spec.url.as_str(), spec.branch.as_str(), spec.path.as_str()),
            (url, "main", "")
        );
        assert_eq!(
            (
                spec.project.as_str(),
                spec.interval.as_secs(),
                file.as_str()
            ),
            ("default", 60, "app.yaml")
        );
    }
    for (spec, why) in [
        (
            "url: \"https://bob:hunter2@git.example/a\"",
            "carries a user or a password",
        ),
        (
            "url: \"https://hunter2@git.example/a\"",
            "carries a user or a password",
        ),
        (
            "url: \"ssh://bob:hunter2@git.example/a\"",
            "carries a password",
        ),
        ("url: \"bob:hunter2@git.example:a\"", "user:password@host"),
        ("url: \"ext::sh -c id\"", "no white space"),
        ("url: \"ext::sh\"", "remote helpers"),
        (
            "url: \"git://git.example/a\"",
            "transport \"git\" is not allowed",
        ),
        ("url: \"--upload-pack=x:y\"", "does not start with"),
        ("url: \"-oProxyCommand=x:y\"", "does not start with"),
        ("url: \"file://host/a\"", "absolute path"),
        ("url: \"https:///a\"", "names no host"),
        ("url: relative/a", "not the URL"),
        ("branch: x", "\"url\" is missing"),
        (
            "url: \"https://g.example/a\", branch: \"a..b\"",
            "cannot be the name of a branch",
        ),
        (
            "url: \"https://g.example/a\", path: ../x",
            "is not a folder of the repository",
        ),
        (
            "url: \"https://g.example/a\", interval: 10ms",
            "at least 1s",
        ),
        (
            "url: \"https://g.example/a\", project: A",
            "is not a DNS label",
        ),
        (
            "url: \"https://g.example/a\", credentials: {tokenFile: x}",
            "must be absolute",
        ),
        (
            "url: \"https://g.example/a\", credentials: {password: x}",
            "unknown key \"password\"",
        ),
    ] {
        let checked = checked(source(spec).as_bytes());
        let text: String = checked
            .problems
            .iter()
            .map(|p| format!("{p} {}", p.text))
            .collect();
        assert!(text.contains(why), "{spec}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(checked.catalog.sources.is_empty());
        // Otherwise the source declared before would look deleted.
        assert!(checked.catalog.unreadable.contains("app.yaml"));
    }
}

#[test]
fn a_source_in_git_names_nothing_on_the_controllers_host() {
    let yaml = |spec: &str| {
        format!(
            "apiVersion: evenkeel.dev/v1\nkind: Source\nmetadata: {{name: s}}\nspec:\n  url: https://g.example/a\n{spec}"
        )
    };
    for (spec, place) in [
        (
            "  credentials: {tokenFile: /run/t}\n",
            "6:28 spec.credentials.tokenFile",
        ),
        (
            "  credentials: {sshKeyFile: /run/t}\n",
            "6:29 spec.credentials.sshKeyFile",
        ),
        (
            "  credentials: {knownHostsFile: /run/t}\n",
            "6:33 spec.credentials.knownHostsFile",
        ),
        (
            "  webhookSecretFile: /run/t\n",
            "6:22 spec.webhookSecretFile",
        ),
    ] {
        let told = check(&yaml(spec));
        assert!(told.contains(place), "{spec}: {told}");
        assert!(
            told.contains("may not name a file on the controller's host"),
            "{told}"
        );
        let problems = checked(yaml(spec).as_bytes()).problems;
        assert!(
            problems[0]
                .hint
                .as_ref()
                .unwrap()
                .contains("evenkeel source add s")
        );
    }
    // Each of them is told, not only the first.
    let two =
        "  webhookSecretFile: /run/t\n  credentials: {tokenFile: /run/t, sshKeyFile: /run/k}\n";
    assert_eq!(checked(yaml(two).as_bytes()).problems.len(), 3);
    for local in ["/srv/a", "file:///srv/a"] {
        let told = check(&yaml("").replace("https://g.example/a", local));
        assert!(told.contains("5:8 spec.url"), "{told}");
        assert!(
            told.contains("may not name a repository on the controller's host"),
            "{told}"
        );
    }
    assert_eq!(check(&yaml("  credentials: {username: ann}\n")), "ok");
}

#[test]
fn problems_print_like_a_compiler() {
    let yaml = spec("replica: 3");
    let problems = checked(yaml.as_bytes()).problems;
    assert_eq!(
        render_problem(&problems[0], Some(&yaml)),
        "app.yaml:7:3: unknown key \"replica\"\n  |\n7 |   replica: 3\n  |   ^^^^^^^\n  = did you mean \"replicas\"?\n"
    );
    assert!(render_problem(&problems[0], Some("")).starts_with("app.yaml:7:3: unknown"));
    let whole = crate::model::Problem {
        line: 0,
        ..problems[0].clone()
    };
    assert!(render_problem(&whole, None).starts_with("app.yaml: unknown"));
    let far = crate::model::Problem {
        column: 900,
        line: 1,
        ..problems[0].clone()
    };
    let line = "x".repeat(2000);
    assert!(
        render_problem(&far, Some(&line))
            .lines()
            .all(|l| l.len() < 200)
    );
}
