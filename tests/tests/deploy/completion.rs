//! Completion in a real shell: names of what the agent has.

use crate::Scene;

/// What bash offers for a line whose last word is half typed.
fn offered(scene: &Scene, line: &str) -> Vec<String> {
    let script = r#"
        source <("$SNOWSHED" completion bash)
        snowshed() { "$SNOWSHED" "$@"; }
        export -f snowshed
        COMP_WORDS=($LINE); [[ "$LINE" == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_TYPE=9
        _clap_complete_snowshed snowshed "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", script]).env("SNOWSHED", scene.edge.snowshed()).env("LINE", line);
    bash.env("PATH", format!("{}:/usr/bin:/bin", scene.edge.snowshed().parent().unwrap().display()));
    bash.env("SNOWSHED_SOCKET", scene.edge.socket()).env("SNOWSHED_TOKEN_FILE", scene.edge.token_file());
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_commands_flags_and_names_of_what_is_there() {
    let scene = Scene::running();
    assert!(offered(&scene, "snowshed l").contains(&"lb".to_owned()));
    assert!(offered(&scene, "snowshed lb del").contains(&"delete".to_owned()));
    assert_eq!(offered(&scene, "snowshed lb get w"), ["web"]);
    assert_eq!(offered(&scene, "snowshed backend get --lb web p"), ["pool"]);
    assert_eq!(offered(&scene, "snowshed frontend get --lb no-such h"), [""]);
    assert!(offered(&scene, "snowshed ip get 203").iter().any(|address| address.starts_with("203.0.113.")));
}
