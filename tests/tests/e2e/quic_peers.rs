//! Real QUIC peers: servers whose connection ids begin with the server id that Snowshed says, and a client that moves.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use rand::RngExt as _;
use rcgen::CertifiedKey;
use tests::netns::Netns;

/// The name in the servers' certificate.
const NAME: &str = "quic.test";
/// Bytes of a connection id that the server draws.
const NONCE: usize = 6;

/// Connection ids as QUIC-LB has them, in plain text.
#[derive(Clone, Debug)]
pub struct Ids {
    /// Number of the configuration.
    pub config: u8,
    /// The server's id.
    pub server: Vec<u8>,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let nonce: [u8; NONCE] = rand::rng().random();
        let len = (self.cid_len() - 1) as u8;
        ConnectionId::new(&[&[self.config << 5 | len][..], &self.server, &nonce].concat())
    }

    fn cid_len(&self) -> usize {
        1 + self.server.len() + NONCE
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// The certificate of all servers, and the clients' trust in it.
pub struct Trust {
    certified: CertifiedKey<rcgen::KeyPair>,
}

impl Trust {
    /// A new certificate.
    pub fn new() -> Self {
        Self { certified: rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap() }
    }

    fn server(&self) -> ServerConfig {
        let key = rustls::pki_types::PrivateKeyDer::try_from(self.certified.signing_key.serialize_der()).unwrap();
        ServerConfig::with_single_cert(vec![self.certified.cert.der().clone()], key).unwrap()
    }

    fn client(&self) -> quinn::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certified.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
    }
}

/// A socket in a namespace.
fn socket(netns: &Netns, address: SocketAddr) -> UdpSocket {
    netns.run(|| UdpSocket::bind(address)).unwrap().unwrap()
}

fn endpoint(socket: UdpSocket, ids: Option<Ids>, server: Option<ServerConfig>) -> Endpoint {
    let mut config = EndpointConfig::default();
    if let Some(ids) = ids {
        config.cid_generator(move || Box::new(ids.clone()));
    }
    Endpoint::new(config, server, socket, Arc::new(TokioRuntime)).unwrap()
}

/// A server that answers every stream with its name, until it is dropped.
pub struct Server {
    endpoint: Endpoint,
}

impl Server {
    /// Listens on an address in a namespace.
    pub fn start(netns: &Netns, address: SocketAddr, trust: &Trust, ids: Ids, name: &str) -> Self {
        let endpoint = endpoint(socket(netns, address), Some(ids), Some(trust.server()));
        let (listener, name) = (endpoint.clone(), name.to_owned());
        tokio::spawn(async move {
            while let Some(incoming) = listener.accept().await {
                let name = name.clone();
                tokio::spawn(async move {
                    let Ok(connection) = incoming.await else { return };
                    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                        let question = receive.read_to_end(1024).await.unwrap_or_default();
                        let answer = format!("{name} {}", String::from_utf8_lossy(&question));
                        // A client that is gone asks no more.
                        if send.write_all(answer.as_bytes()).await.is_err() || send.finish().is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { endpoint }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.endpoint.close(0u8.into(), b"");
    }
}

/// A client with one connection.
pub struct Client {
    endpoint: Endpoint,
    connection: quinn::Connection,
    questions: usize,
}

impl Client {
    /// Connects from an address in a namespace.
    pub async fn connect(netns: &Netns, from: SocketAddr, to: SocketAddr, trust: &Trust) -> Self {
        let endpoint = endpoint(socket(netns, from), None, None);
        let connection = endpoint.connect_with(trust.client(), to, NAME).unwrap().await.unwrap();
        Self { endpoint, connection, questions: 0 }
    }

    /// Goes on from another address.
    pub fn rebind(&self, netns: &Netns, from: SocketAddr) {
        self.endpoint.rebind(socket(netns, from)).unwrap();
    }

    /// The port it sends from.
    pub fn port(&self) -> u16 {
        self.endpoint.local_addr().unwrap().port()
    }

    /// Name of the server that answers a question on the connection.
    pub async fn ask(&mut self) -> Result<String, String> {
        self.questions += 1;
        let question = format!("question {}", self.questions);
        let asked = async {
            let (mut send, mut receive) = self.connection.open_bi().await?;
            send.write_all(question.as_bytes()).await?;
            send.finish()?;
            Ok::<_, anyhow::Error>(String::from_utf8(receive.read_to_end(1024).await?)?)
        };
        let answer = asked.await.map_err(|error| format!("{question}: {error:#}"))?;
        let name = answer.strip_suffix(&format!(" {question}")).ok_or_else(|| format!("{question}: {answer}"))?;
        Ok(name.to_owned())
    }
}
