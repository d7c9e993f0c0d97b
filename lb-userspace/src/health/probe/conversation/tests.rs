//! Each protocol's answers, whole and in pieces.

use super::*;

fn http() -> Probe {
    Probe::Http { uri: "/".to_owned(), method: "GET".to_owned(), code: None, host_header: String::new() }
}

fn mysql() -> Probe {
    Probe::Mysql { user: "check".to_owned() }
}

/// How a server's words end the conversation, at once and byte by byte; the answers that we gave must be the same.
fn outcome(probe: &Probe, answers: &[&[u8]]) -> ProbeOutcome {
    let run = |size: usize| {
        let mut conversation = Conversation::new(probe);
        let mut said = Vec::new();
        for answer in answers {
            for piece in answer.chunks(size) {
                match conversation.hear(piece) {
                    Step::More => {}
                    Step::Say(bytes) => said.push(bytes),
                    Step::Done(outcome) => return (outcome, said),
                }
            }
        }
        (conversation.closed(), said)
    };
    let (whole, pieces) = (run(usize::MAX), run(1));
    assert_eq!(whole, pieces, "{probe:?}");
    whole.0
}

fn is_passed(probe: &Probe, answers: &[&[u8]]) {
    assert_eq!(outcome(probe, answers), ProbeOutcome::Passed, "{probe:?} {answers:?}");
}

fn is_failed(probe: &Probe, answers: &[&[u8]], says: &str) {
    let outcome = outcome(probe, answers);
    assert!(matches!(&outcome, ProbeOutcome::Unexpected(what) if what.contains(says)), "{probe:?}: {outcome:?}");
}

#[test]
fn redis_passes_on_pong_and_tells_what_else_it_said() {
    is_passed(&Probe::Redis, &[b"+PONG\r\n"]);
    is_failed(&Probe::Redis, &[b"-NOAUTH Authentication required.\r\n"], "NOAUTH Authentication required");
    is_failed(&Probe::Redis, &[b"HTTP/1.1 400"], "not Redis");
    is_failed(&Probe::Redis, &[b"+PON"], "closed before an answer");
}

#[test]
fn postgresql_passes_when_it_wants_to_authenticate_and_tells_its_error() {
    let probe = Probe::Pgsql { user: "check".to_owned() };
    let address = "192.0.2.1:5432".parse().unwrap();
    let startup = Conversation::new(&probe).opening(address);
    assert_eq!(u32::from_be_bytes(startup[..4].try_into().unwrap()) as usize, startup.len());
    assert!(startup.windows(11).any(|part| part == b"user\0check\0"), "{startup:?}");
    is_passed(&probe, &[b"R\0\0\0\x08\0\0\0\0"]);
    is_passed(&probe, &[b"R\0\0\0\x0c\0\0\0\x05salt"]);
    is_failed(&probe, &[b"E\0\0\0\x1eSFATAL\0Mtoo many clients\0\0\0"], "too many clients");
    is_failed(&probe, &[b"SSH-2.0"], "not PostgreSQL");
    is_failed(&probe, &[b"R\xff\xff\xff\xff"], "not PostgreSQL");
}

#[test]
fn mysql_passes_when_the_user_may_come_in_whatever_the_plugin() {
    let greeting: &[u8] = b"\x0b\0\0\0\x0a8.0.36\0abc";
    let ok: &[u8] = b"\x07\0\0\x02\0\0\0\x02\0\0\0";
    is_passed(&mysql(), &[greeting, ok]);
    let other_plugin: &[u8] = b"\x17\0\0\x02\xfecaching_sha2_password\0";
    is_passed(&mysql(), &[greeting, other_plugin, b"\x07\0\0\x04\0\0\0\x02\0\0\0"]);
    is_passed(&mysql(), &[greeting, other_plugin, b"\x02\0\0\x04\x01\x03\x07\0\0\x05\0\0\0\x02\0\0\0"]);
    is_failed(&mysql(), &[greeting, b"\x10\0\0\x02\xff\x15\x04#28000Denied!"], "Denied!");
    is_failed(&mysql(), &[b"\x0f\0\0\0\xff\x69\x04Host blocked"], "Host blocked");
    is_failed(&mysql(), &[greeting, b"\x02\0\0\x02\x01\x04"], "wants a password of `check`");
    is_failed(&mysql(), &[b"\0\0\0\0"], "not MySQL");
    is_failed(&mysql(), &[b"SSH-2.0-OpenSSH"], "not MySQL");
}

#[test]
fn a_login_names_the_user_and_no_password() {
    let probe = mysql();
    let Step::Say(login) = Conversation::new(&probe).hear(b"\x0b\0\0\0\x0a8.0.36\0abc") else { panic!("no login") };
    assert_eq!(usize::from(login[0]) + 4, login.len());
    assert_eq!(login[3], 1, "the packet after the greeting");
    assert!(login[36..].starts_with(b"check\0\0mysql_native_password\0"), "{login:?}");
}

#[test]
fn ldap_passes_on_success_in_every_form_of_length() {
    is_passed(&Probe::Ldap, &[b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"]);
    is_passed(&Probe::Ldap, &[b"\x30\x84\0\0\0\x10\x02\x01\x01\x61\x84\0\0\0\x07\x0a\x01\x00\x04\x00\x04\x00"]);
    is_failed(&Probe::Ldap, &[b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\x00\x04\x00"], "result code 49");
    is_failed(&Probe::Ldap, &[b"\x30\x0c\x02\x01\x02\x61"], "not LDAP");
    is_failed(&Probe::Ldap, &[b"HTTP"], "not LDAP");
}

#[test]
fn an_answer_without_an_end_is_decided_at_a_bounded_size() {
    let endless = [b'-'; 3 * MAX_ANSWER_BYTES];
    is_failed(&Probe::Redis, &[&endless], "does not end");
    is_failed(&http(), &[&[b"HTTP/1.1 ", &endless[..]].concat()], "not HTTP/1");
}

#[test]
fn no_bytes_make_a_conversation_panic_or_pass_by_chance() {
    let probes = [http(), mysql(), Probe::Pgsql { user: "x".to_owned() }, Probe::Ldap, Probe::Redis];
    proptest::proptest!(|(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64))| {
        for probe in &probes {
            let outcome = outcome(probe, &[&bytes]);
            let may_pass = matches!(probe, Probe::Pgsql { .. }) && bytes.starts_with(b"R\0\0")
                || matches!(probe, Probe::Ldap) && bytes.starts_with(&[0x30]);
            proptest::prop_assert!(may_pass || outcome != ProbeOutcome::Passed, "{:?} {:?}", probe, bytes);
        }
    });
}
