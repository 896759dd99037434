//! What a connection for each call costs: calls per second to a server on this computer, beside reqwest with and without a pool.
//!
//! ```sh
//! cargo run --release -p manyhands-egress --example calls
//! ```

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use http::Method;
use manyhands_addresses::Origin;
use manyhands_egress::{Egress, Request, Settings};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROUNDS: usize = 9;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 27\r\n\r\n{\"id\":\"abc\",\"tier\":\"basic\"}";

/// Answers each request of a connection, for as long as there are some.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut heard = Vec::new();
    while stream.read_buf(&mut heard).await? > 0 {
        if heard.ends_with(b"\r\n\r\n") {
            heard.clear();
            stream.write_all(ANSWER).await?;
        }
    }
    stream.shutdown().await
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => converse(stream).await,
                Some(tls) => converse(tls.accept(stream).await?).await,
            }
        });
    }
}

/// Calls per second of so many callers at a time, each of whom waits for an answer before asking again.
async fn measure<F: Future<Output = Result<(), Failure>>>(
    callers: usize,
    call: impl Fn() -> F,
) -> Result<f64, Failure> {
    const LONG: Duration = Duration::from_millis(500);
    let start = Instant::now();
    let counts = join_all((0..callers).map(|_| async {
        let mut count = 0_u32;
        while start.elapsed() < LONG {
            call().await?;
            count += 1;
        }
        Ok::<u32, Failure>(count)
    }));
    let total = counts.await.into_iter().sum::<Result<u32, _>>()?;
    Ok(f64::from(total) / start.elapsed().as_secs_f64())
}

fn main() -> Result<(), Failure> {
    let _first = rustls::crypto::ring::default_provider().install_default();
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate: CertificateDer<'static> = authority.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(authority.signing_key.serialize_der().into());
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.clone()], key)?;

    // The server has a thread of its own, and so have the callers.
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let clear = server.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let secure = server.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let origins: [Origin; 2] = [
        format!("http://localhost:{}", clear.local_addr()?.port()).parse()?,
        format!("https://localhost:{}", secure.local_addr()?.port()).parse()?,
    ];
    server.spawn(serve(clear, None));
    server.spawn(serve(secure, Some(TlsAcceptor::from(Arc::new(config)))));

    let settings = Settings { allowed: origins.to_vec(), roots: vec![certificate.clone()], ..Settings::default() };
    let egress = Egress::new(settings)?;
    let reqwest = |idle| {
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let certificate = reqwest::Certificate::from_der(&certificate)?;
        builder.tls_certs_only([certificate]).pool_max_idle_per_host(idle).build()
    };
    let (unpooled, pooled) = (reqwest(0)?, reqwest(usize::MAX)?);

    let callers = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{:<7}{:>8}{:>10}{:>18}{:>16}", "", "callers", "egress", "reqwest unpooled", "reqwest pooled");
    for origin in origins {
        let url = format!("{origin}/v1/customers/abc");
        let fetch = async |client: &reqwest::Client| -> Result<(), Failure> {
            client.get(&url).send().await?.bytes().await?;
            Ok(())
        };
        for count in [1, 32] {
            // In turn, so that whatever else this computer does is everybody's trouble; the median of what each did.
            let mut rates = [const { Vec::new() }; 3];
            for _ in 0..ROUNDS {
                callers.block_on(async {
                    let own = async || {
                        egress.perform(Request::new(Method::GET, origin.clone(), "/v1/customers/abc")?).await?;
                        Ok(())
                    };
                    rates[0].push(measure(count, own).await?);
                    rates[1].push(measure(count, async || fetch(&unpooled).await).await?);
                    rates[2].push(measure(count, async || fetch(&pooled).await).await?);
                    Ok::<(), Failure>(())
                })?;
            }
            let [own, unpooled, pooled] = rates.map(|mut rates| {
                rates.sort_by(f64::total_cmp);
                rates[ROUNDS / 2]
            });
            println!("{:<7}{count:>8}{own:>10.0}{unpooled:>18.0}{pooled:>16.0}", origin.scheme().to_string());
        }
    }
    Ok(())
}
