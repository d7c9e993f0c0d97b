//! The clients that tenants have already, unchanged, against a running agent with XDP in network namespaces: what they
//! make forwards real HTTP. Needs root, and what `cargo xtask setup` installs below target/clients.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends it")]

mod scene;

use scene::Scene;

#[test]
fn the_python_sdk_drives_the_life_of_a_load_balancer() {
    Scene::new().pytest("test_life.py");
}

#[test]
fn the_python_sdk_lists_every_page() {
    Scene::new().pytest("test_lists.py");
}

#[test]
fn the_python_sdk_understands_the_errors() {
    Scene::new().pytest("test_errors.py");
}

#[test]
fn the_javascript_sdk_drives_the_life_of_a_load_balancer() {
    Scene::new().node("life.test.js");
}

#[test]
fn schemathesis_finds_no_operation_that_breaks_its_own_description() {
    Scene::new().schemathesis();
}

#[test]
fn the_python_sdk_sets_access_rules_and_limits() {
    Scene::new().pytest("test_acls.py");
}

#[test]
fn a_controller_on_the_python_sdk_builds_nothing_while_the_api_is_read_only() {
    Scene::new().pytest("test_read_only.py");
}

#[test]
fn the_python_sdk_subscribes_a_receiver_that_is_told_signed() {
    Scene::new().pytest("test_subscribers.py");
}

#[test]
fn what_terraform_and_the_cloud_controller_always_write_is_taken() {
    Scene::new().pytest("test_terraform.py");
}

#[test]
fn every_field_that_the_python_sdk_sends_is_documented() {
    Scene::new().pytest("test_fields.py");
}
