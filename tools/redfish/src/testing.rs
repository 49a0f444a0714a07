//! A server whose machine is a stand-in, for tests.

use crate::config::{Account, Config};
use crate::places::Places;
use crate::power::{Answer, Root};
use crate::roles::Role;
use crate::router;
use crate::service::Service;
use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Argon2, Params};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::future::Future;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs a future on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// An account whose hash is a cheap one.
pub(crate) fn account(name: &str, password: &str, role: Role) -> Account {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).expect("parameters");
    let cheap = Argon2::new(Default::default(), Default::default(), params);
    let salt = SaltString::encode_b64(b"saltsaltsalt").expect("a salt");
    let hash = cheap.hash_password(password.as_bytes(), &salt);
    Account {
        name: name.to_owned(),
        role,
        password: hash.expect("a hash").to_string(),
    }
}

/// A machine in a folder: slices, a stand-in `cellctl` with its cells, a socket of root's.
pub(crate) struct Machine {
    dir: tempfile::TempDir,
    pub(crate) places: Places,
}

impl Machine {
    /// One with the cells `web` (running) and `db` (stopped), and the slice `spare`.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        for folder in ["cells", "images", "slices", "state"] {
            std::fs::create_dir(at(folder)).expect("a folder");
        }
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cellctl");
        // The script has its cells in the folder that it is started from by this link.
        std::os::unix::fs::symlink(script, at("cellctl")).expect("a link");
        std::fs::write(at("cells/web"), "running\n").expect("a cell");
        std::fs::write(at("cells/db"), "stopped\n").expect("a cell");
        std::fs::write(at("slices/spare.toml"), "").expect("a slice");
        let places = Places {
            cellctl: at("cellctl"),
            slices: at("slices"),
            power: at("power.sock"),
            state: at("state"),
            boot: at("boot"),
        };
        let machine = Self { dir, places };
        machine.listen();
        machine
    }

    /// Answers at the socket as systemd has it answered.
    fn listen(&self) {
        let listener = UnixListener::bind(&self.places.power).expect("a socket");
        let places = self.places.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let root = Root::new(places.clone());
                std::thread::spawn(move || {
                    let input = BufReader::new(stream.try_clone().expect("a descriptor"));
                    let answer: Answer = root.serve(input);
                    // The client may have gone.
                    let _ = stream.write_all(serde_json::json!(answer).to_string().as_bytes());
                });
            }
        });
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The state of a cell, if there is one.
    pub(crate) fn state(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.path().join("cells").join(name)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The address of an image, which is there.
    pub(crate) fn image(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path().join("images").join(name);
        std::fs::write(&path, bytes).expect("an image");
        format!("file://{}", path.display())
    }

    /// Has `cellctl` fail with this word, or take its time.
    pub(crate) fn set(&self, word: &str, text: &str) {
        std::fs::write(self.path().join(word), text).expect("a file");
    }

    /// What `cellctl` was asked to change.
    pub(crate) fn asked(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path().join("asked"));
        let text = text.unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A server for it, with an account of each role: `admin`, `operator` and `reader`,
    /// whose passwords are their names.
    pub(crate) fn router(&self) -> Router {
        let images = self.path().join("images");
        let text = format!(
            "version = 1\nmedia.from = [\"file://{}/\"]",
            images.display()
        );
        let mut config = Config::parse(&text).expect("a file");
        config.accounts = vec![
            account("admin", "admin", Role::Administrator),
            account("operator", "operator", Role::Operator),
            account("reader", "reader", Role::ReadOnly),
        ];
        let service = Service::new(&config, &self.places).expect("a service");
        router::router(Arc::new(service))
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Came {
    /// A header's text; empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The registry's name of what went wrong.
    pub(crate) fn message(&self) -> &str {
        let id = self.body["error"]["code"].as_str().unwrap_or_default();
        id.rsplit('.').next().unwrap_or_default()
    }
}

/// Name and password in a header.
pub(crate) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// A request of an account with its password, without body.
pub(crate) fn request(method: Method, path: &str, name: &str) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path);
    let builder = match name {
        "" => builder,
        name => builder.header("authorization", basic(name, name)),
    };
    builder.body(Body::empty()).expect("a request")
}

/// One with a body.
pub(crate) fn with(mut request: Request<Body>, body: impl Into<Body>) -> Request<Body> {
    let json = "application/json".parse().expect("a header");
    request.headers_mut().insert("content-type", json);
    *request.body_mut() = body.into();
    request
}

/// Has a request answered.
pub(crate) async fn ask(router: &Router, request: Request<Body>) -> Came {
    let response = router::answer(router.clone(), request).await;
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.expect("a body");
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    Came {
        status: parts.status,
        headers: parts.headers,
        body: serde_json::from_str(&text).unwrap_or_default(),
        text,
    }
}

/// Reads a path as an account.
pub(crate) async fn get(router: &Router, path: &str, name: &str) -> Came {
    ask(router, request(Method::GET, path, name)).await
}
