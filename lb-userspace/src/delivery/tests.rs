//! Tests of the postman with real receivers: HTTP and SMTP on loopback.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;

pub(super) const QUICK: Backoff =
    Backoff { first: Duration::from_millis(2), longest: Duration::from_millis(20), attempts: 6 };
const KEY: SigningKey = SigningKey::new([3; 32]);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    headers: HeaderMap,
    pub(super) body: bytes::Bytes,
}

/// An HTTP server that answers with these statuses, and with 204 from then on.
#[derive(Clone, Default)]
pub(super) struct Receiver {
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Receiver {
    pub(super) async fn start(answers: impl IntoIterator<Item = StatusCode>) -> (Self, String) {
        let receiver = Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/hook?token=1", listener.local_addr().unwrap());
        let app = axum::Router::new().route("/hook", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, uri)
    }

    pub(super) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }
}

async fn take(Shared(receiver): Shared<Receiver>, headers: HeaderMap, body: bytes::Bytes) -> (StatusCode, HeaderMap) {
    receiver.arrived.lock().unwrap().push(Arrived { headers, body });
    let answer = receiver.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::NO_CONTENT);
    let location = HeaderMap::from_iter([("location".parse().unwrap(), "/elsewhere".parse().unwrap())]);
    (answer, location)
}

fn letter(recipient: u128, address: Address) -> Letter {
    Letter {
        to: Recipient { kind: RecipientKind::Subscriber, id: Uuid::from_u128(recipient) },
        address,
        project_id: None,
        organization_id: None,
        lb_id: None,
        kind: "server.down".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        message: "server 10.0.0.1 of web/pool is down: refused".to_owned(),
        data: serde_json::json!({"server": "10.0.0.1"}),
    }
}

fn to(recipient: u128, uri: &str) -> Letter {
    letter(recipient, Address::Webhook { uri: uri.to_owned() })
}

pub(super) fn loopback() -> Targets {
    Targets { allowed: vec!["127.0.0.0/8".parse().unwrap()] }
}

/// A postman over an outbox; it ends with the guard.
pub(super) struct Postman(JoinHandle<&'static str>);

impl Drop for Postman {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn postman(outbox: &Arc<Outbox>, targets: Targets, mailer: Option<Mailer>, backoff: Backoff) -> Postman {
    let carriers = Carriers { webhooks: Webhooks::new(KEY, targets, None).unwrap(), mailer };
    Postman(tokio::spawn(super::postman::run(Arc::clone(outbox), carriers, backoff, Timestamp::now)))
}

/// The delivery once it does not wait any more; a test that hangs here has failed.
async fn ended(outbox: &Outbox, id: Uuid) -> Delivery {
    loop {
        let delivery = outbox.delivery(id).unwrap().unwrap();
        if delivery.state != State::Waiting {
            return delivery;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Verifies as a recipient would that read the specification, without our code but the HMAC.
pub(super) fn is_signed(arrived: &Arrived, recipient: Recipient) -> bool {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let header = |name: &str| arrived.headers[name].to_str().unwrap().to_owned();
    let shown = KEY.secret_of(recipient).reveal();
    let secret = STANDARD.decode(shown.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&secret).unwrap();
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&arrived.body);
    let signature = header("webhook-signature");
    mac.verify_slice(&STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap()).is_ok()
}

#[tokio::test]
async fn a_webhook_is_tried_until_the_receiver_takes_it_signed_and_the_same_every_time() {
    let failures = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::FOUND, StatusCode::TOO_MANY_REQUESTS];
    let (receiver, uri) = Receiver::start(failures).await;
    let outbox = Arc::new(Outbox::in_memory(Vec::new()).unwrap());
    let _postman = postman(&outbox, loopback(), None, QUICK);
    let letter = to(1, &uri);
    let id = outbox.post(Timestamp::now(), std::slice::from_ref(&letter)).unwrap()[0];
    let delivery = ended(&outbox, id).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.last_error), (State::Delivered, 4, None));
    let arrived = receiver.arrived();
    assert_eq!(arrived.len(), 4);
    for one in &arrived {
        assert!(is_signed(one, letter.to), "{one:?}");
        assert_eq!(
            (one.headers["webhook-id"].to_str().unwrap(), &one.body),
            (id.to_string().as_str(), &arrived[0].body)
        );
    }
    let body: serde_json::Value = serde_json::from_slice(&arrived[0].body).unwrap();
    assert_eq!(body["type"], "server.down");
    assert_eq!(body["data"]["server"], "10.0.0.1");
    let attempts = outbox.attempts();
    assert_eq!((attempts[&(Channel::Webhook, "failed")], attempts[&(Channel::Webhook, "delivered")]), (3, 1));
}

#[tokio::test]
async fn a_letter_that_is_given_up_is_dead_and_is_delivered_when_it_is_sent_again() {
    let (receiver, uri) = Receiver::start([StatusCode::BAD_GATEWAY; 6]).await;
    let outbox = Arc::new(Outbox::in_memory(Vec::new()).unwrap());
    let _postman = postman(&outbox, loopback(), None, QUICK);
    let id = outbox.post(Timestamp::now(), &[to(1, &uri)]).unwrap()[0];
    let dead = ended(&outbox, id).await;
    assert_eq!((dead.state, dead.attempts), (State::Dead, QUICK.attempts));
    assert!(dead.last_error.unwrap().contains("502"));
    assert_eq!(outbox.counts().unwrap().dead, 1);
    assert!(outbox.redeliver(id, Timestamp::now()).unwrap());
    assert_eq!(ended(&outbox, id).await.state, State::Delivered);
    assert!(!outbox.redeliver(id, Timestamp::now()).unwrap(), "what was delivered is not sent twice");
    assert_eq!(receiver.arrived().len(), 7);
}

#[tokio::test]
async fn a_recipient_that_is_gone_is_not_asked_again_and_none_waits_for_another() {
    let (gone, gone_uri) = Receiver::start([StatusCode::GONE]).await;
    let (_, dead_uri) = Receiver::start([StatusCode::BAD_GATEWAY; 1000]).await;
    let (live, live_uri) = Receiver::start([]).await;
    let outbox = Arc::new(Outbox::in_memory(Vec::new()).unwrap());
    let forever = Backoff { attempts: 1000, ..QUICK };
    let _postman = postman(&outbox, loopback(), None, forever);
    let ids = outbox.post(Timestamp::now(), &[to(1, &gone_uri), to(2, &dead_uri), to(3, &live_uri)]).unwrap();
    assert_eq!(ended(&outbox, ids[2]).await.state, State::Delivered);
    assert_eq!(ended(&outbox, ids[0]).await.state, State::Dead);
    assert_eq!((gone.arrived().len(), live.arrived().len()), (1, 1));
    assert_eq!(outbox.delivery(ids[1]).unwrap().unwrap().state, State::Waiting);
}

#[tokio::test]
async fn a_webhook_to_an_address_that_is_not_public_is_never_sent_by_address_or_by_name() {
    let (receiver, uri) = Receiver::start([]).await;
    let outbox = Arc::new(Outbox::in_memory(Vec::new()).unwrap());
    let _postman = postman(&outbox, Targets::default(), None, QUICK);
    let by_name = uri.replace("127.0.0.1", "localhost");
    let ids = outbox.post(Timestamp::now(), &[to(1, &uri), to(2, &by_name)]).unwrap();
    for id in ids {
        let dead = ended(&outbox, id).await;
        assert_eq!((dead.state, dead.attempts), (State::Dead, 1));
        assert!(dead.last_error.unwrap().contains("public Internet"));
    }
    assert_eq!(receiver.arrived().len(), 0);
    assert_eq!(outbox.attempts()[&(Channel::Webhook, "refused")], 2);
}

#[tokio::test]
async fn what_waits_outlives_the_process_and_goes_to_the_address_that_holds_then() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outbox.db");
    let (receiver, uri) = Receiver::start([]).await;
    let wrong = Address::Webhook { uri: "http://192.0.2.1/".to_owned() };
    let id = {
        let outbox = Outbox::open(&path, Vec::new()).unwrap();
        outbox.post(Timestamp::now(), &[letter(1, wrong), to(2, &uri)]).unwrap()[0]
    };
    let outbox = Arc::new(Outbox::open(&path, Vec::new()).unwrap());
    assert_eq!(outbox.counts().unwrap().waiting, 2);
    let recipient = outbox.delivery(id).unwrap().unwrap().letter.to;
    outbox.readdress(recipient, &Address::Webhook { uri }).unwrap();
    outbox.forget(Recipient { id: Uuid::from_u128(2), ..recipient }).unwrap();
    let _postman = postman(&outbox, loopback(), None, QUICK);
    assert_eq!(ended(&outbox, id).await.state, State::Delivered);
    assert_eq!((receiver.arrived().len(), outbox.counts().unwrap().waiting), (1, 0));
}

#[test]
fn a_recipient_has_room_for_so_many_letters_and_the_next_one_is_dead_and_others_have_their_own() {
    let outbox = Outbox::in_memory(Vec::new()).unwrap();
    let letters = vec![to(1, "http://1.1.1.1/"); 1001];
    let ids = outbox.post(Timestamp::now(), &letters).unwrap();
    let last = outbox.delivery(ids[1000]).unwrap().unwrap();
    assert_eq!(last.state, State::Dead);
    assert!(last.last_error.unwrap().contains("1000 letters wait"));
    let other = outbox.post(Timestamp::now(), &[to(2, "http://1.1.1.1/")]).unwrap()[0];
    assert_eq!(outbox.delivery(other).unwrap().unwrap().state, State::Waiting);
    let counts = outbox.counts().unwrap();
    assert_eq!((counts.waiting, counts.dead), (1001, 1));
}

#[test]
fn what_was_told_is_written_with_the_letters_that_tell_it() {
    let outbox = Outbox::in_memory(Vec::new()).unwrap();
    let letter = to(1, "http://1.1.1.1/");
    let told =
        |state: Option<&str>| Told { to: letter.to, subject: "lb 1".to_owned(), state: state.map(str::to_owned) };
    outbox.post_and_tell(Timestamp::now(), std::slice::from_ref(&letter), &[told(Some("ready"))]).unwrap();
    outbox.post_and_tell(Timestamp::now(), &[], &[told(Some("locked"))]).unwrap();
    assert_eq!(outbox.told(RecipientKind::Subscriber).unwrap(), [told(Some("locked"))]);
    assert_eq!(outbox.told(RecipientKind::Dependent).unwrap(), []);
    outbox.post_and_tell(Timestamp::now(), &[], &[told(None)]).unwrap();
    assert_eq!(outbox.told(RecipientKind::Subscriber).unwrap(), []);
}

#[test]
fn an_alarm_goes_to_everybody_that_the_configuration_names() {
    let targets = [
        Address::Webhook { uri: "https://example.org/".to_owned() },
        Address::Email { email: "ops@example.org".to_owned() },
    ];
    let outbox = Outbox::in_memory(targets.to_vec()).unwrap();
    let ids = outbox.alarm(Timestamp::now(), "alarm.raised", "all is lost", &serde_json::json!({})).unwrap();
    let to: Vec<Address> = ids.iter().map(|id| outbox.delivery(*id).unwrap().unwrap().letter.address).collect();
    assert_eq!(to, targets);
}

/// An SMTP server (RFC 5321) for one conversation: answers `DATA`'s end with the given line; what was said to it.
async fn smtp(listener: TcpListener, end: &'static str) -> Vec<String> {
    let (stream, _) = listener.accept().await.unwrap();
    let mut said = Vec::new();
    let (read, mut write): (_, _) = TcpStream::into_split(stream);
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 sink ESMTP\r\n").await.unwrap();
    let mut in_data = false;
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match (in_data, line.as_str()) {
            (true, ".") => {
                in_data = false;
                end
            }
            (true, _) => "",
            (false, "DATA") => {
                in_data = true;
                "354 go on"
            }
            (false, "QUIT") => "221 bye",
            (false, line) if line.starts_with("EHLO") => "250 sink",
            (false, _) => "250 ok",
        };
        said.push(line);
        if !answer.is_empty() {
            write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        }
        if answer.starts_with("221") {
            break;
        }
    }
    said
}

async fn mailer() -> (TcpListener, Mailer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let from = "Snowshed <snowshed@example.org>".to_owned();
    let settings = SmtpSettings { host: "127.0.0.1".to_owned(), port, tls: SmtpTls::None, credentials: None, from };
    (listener, Mailer::new(&settings, None).unwrap())
}

#[tokio::test]
async fn an_e_mail_is_one_conversation_with_the_server_and_tells_everything() {
    let (listener, mailer) = mailer().await;
    let conversation = tokio::spawn(smtp(listener, "250 queued"));
    let outbox = Arc::new(Outbox::in_memory(Vec::new()).unwrap());
    let address = Address::Email { email: "ops@example.org".to_owned() };
    let id = outbox.post(Timestamp::now(), &[letter(1, address)]).unwrap()[0];
    let carrying = postman(&outbox, Targets::default(), Some(mailer), QUICK);
    assert_eq!(ended(&outbox, id).await.state, State::Delivered);
    drop(carrying);
    let said = conversation.await.unwrap();
    let has = |line: &str| said.iter().any(|said| said == line);
    assert!(has("MAIL FROM:<snowshed@example.org>") && has("RCPT TO:<ops@example.org>"), "{said:#?}");
    assert!(has("Subject: [snowshed] server 10.0.0.1 of web/pool is down: refused"), "{said:#?}");
    assert!(has(&format!("Message-ID: <{id}@snowshed.invalid>")), "{said:#?}");
    assert!(said.iter().any(|said| said.contains("\"server\": \"10.0.0.1\"")), "{said:#?}");
}

#[tokio::test]
async fn an_e_mail_that_the_server_refuses_for_good_is_dead_and_one_without_a_server_too() {
    let (listener, mailer) = mailer().await;
    tokio::spawn(smtp(listener, "554 no such thing here"));
    let outbox = Arc::new(Outbox::in_memory(Vec::new()).unwrap());
    let address = Address::Email { email: "ops@example.org".to_owned() };
    let id = outbox.post(Timestamp::now(), &[letter(1, address.clone())]).unwrap()[0];
    let carrying = postman(&outbox, Targets::default(), Some(mailer), QUICK);
    let dead = ended(&outbox, id).await;
    assert_eq!((dead.state, dead.attempts), (State::Dead, 1));
    assert!(dead.last_error.unwrap().contains("554"));
    drop(carrying);
    let _without = postman(&outbox, Targets::default(), None, QUICK);
    let id = outbox.post(Timestamp::now(), &[letter(1, address)]).unwrap()[0];
    assert!(ended(&outbox, id).await.last_error.unwrap().contains("smtp_host"));
}

/// A receiver that takes requests and never answers; it counts them.
async fn silent() -> (Arc<std::sync::atomic::AtomicUsize>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/hook", listener.local_addr().unwrap());
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            open.push(stream);
        }
    });
    (asked, uri)
}

#[tokio::test]
async fn a_tenant_whose_receivers_are_slow_has_its_own_letters_wait_and_nobody_elses() {
    let outbox = Arc::new(Outbox::in_memory(Vec::new()).unwrap());
    let (asked, slow) = silent().await;
    let (receiver, quick) = Receiver::start([]).await;
    let of = |tenant, letter| Letter { organization_id: Some(tenant), ..letter };
    let (first, second) = (crate::model::OrganizationId::new(), crate::model::OrganizationId::new());
    let many: Vec<Letter> = (0..100).map(|recipient| of(first, to(recipient, &slow))).collect();
    outbox.post(Timestamp::UNIX_EPOCH, &many).unwrap();
    let _postman = postman(&outbox, loopback(), None, QUICK);
    while asked.load(std::sync::atomic::Ordering::SeqCst) < super::postman::MOST_OF_ONE {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ids = outbox.post(Timestamp::now(), &[of(second, to(1000, &quick)), to(1001, &quick)]).unwrap();
    for id in ids {
        assert_eq!(ended(&outbox, id).await.state, State::Delivered);
    }
    assert_eq!(receiver.arrived().len(), 2);
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), super::postman::MOST_OF_ONE);
}
