use super::*;

#[test]
fn the_smallest_app_is_fine() {
    assert_eq!(check(&spec("")), "ok");
}

#[test]
fn the_canonical_app_answers_only_what_is_not_supported_yet() {
    let text = check(include_str!("canonical.yaml"));
    let told: Vec<(&str, bool)> = text
        .lines()
        .map(|l| {
            let place = l.split(": ").next().unwrap();
            (place, l.contains("not supported yet"))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("12:45 spec.env.DB_PASSWORD.secretRef", true),
            ("17:18 spec.volumes[2].hostPath", false),
            ("24:12 spec.routes[0]", true),
            ("46:18 spec.placement.spreadOver[0]", true),
            ("47:16 spec.placement.affinity[0]", true),
            ("50:15 spec.dependsOn[0]", true),
            ("52:13 spec.priority", true),
        ]
    );
}
