//! `haven serve`: puts the server together, runs it, takes it apart.

use super::{
    Outcome,
    log::{self, LogControl, LogFormat},
    reload::Reloader,
    runtime,
};
use crate::{
    Error,
    admission::{Admission, Machine, measure},
    api::{self, App, Gate, Service},
    autorecord::Watcher,
    config::{Config, ServeArgs, Store},
    db::Db,
    error::Kind,
    events::Events,
    limits::Limits,
    listener,
    pumpfun::{Catalogue, Upstream},
    recordings::{Archive, Library, Policy, PolicySource, check_default_format, recovery::Wreck},
    runtime_dir::RuntimeDir,
    service_manager::ServiceManager,
    sessions::{Context, Registry, Sources, keeper},
    shutdown::{Asked, Shutdown, Signals},
    tls::Tls,
    webhooks::Webhooks,
    worker::Workers,
};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::Write,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    time::{interval, timeout},
};

/// Longest way from the signal to the end of the process: 20 s until the last worker is killed, and
/// time to measure what it left.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(40);

/// Runs the server until a signal ends it.
///
/// # Errors
/// When it can't be started.
pub(super) fn run(args: &ServeArgs, format: LogFormat) -> Outcome {
    let config = Config::resolve(args, |name| std::env::var(name).ok())?;
    listener::raise_file_limit();
    let log = log::start(format, &config.log_filter);
    let runtime = runtime()?;
    let result = runtime.block_on(serve(args, config, log));
    // Whatever didn't end in time must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(args: &ServeArgs, config: Config, log: LogControl) -> Result<(), Error> {
    let mut signals =
        Signals::catch().map_err(|error| Error::internal("catching signals", error))?;
    make_private_dir(&config.data_dir)?;
    let _lock = lock(&config.data_dir)?;
    let tls = config.tls.clone().map(Tls::open).transpose()?;
    let db = Db::open(&config.data_dir)?;
    let shutdown = Shutdown::default();
    let workers = Arc::new(workers(&config, &shutdown));
    let (listener, address) = bind(&config).await?;
    let mut wreck = Wreck::find(&db).await?;
    let store = Arc::new(Store::open(config.layers.clone(), db.clone()).await?);
    let policy = policy_source(&config, &store);
    let registry = registry(&config, &db, &workers, (&store, &policy), &shutdown)?;
    let archive = registry.context().archive.clone();
    // Before anything happens.
    let webhooks = Webhooks::open(&config.webhooks, registry.context(), store.subscribe()).await?;
    wreck
        .take_up(&db, |session, recordings| {
            config.resume && registry.take_up(session, recordings)
        })
        .await?;
    let watcher = Watcher::open(registry.clone()).await?;
    let app = Arc::new(App {
        registry: registry.clone(),
        shutdown: shutdown.clone(),
        origins: config.origins.clone(),
        store: Arc::clone(&store),
        watcher: watcher.clone(),
        readiness: api::Readiness::default(),
        webhooks: webhooks.clone(),
    });
    let service = Service::new(Gate::new(&config), workers.limits(), api::routes(app));
    let gate = service.gate();
    let recovery = wreck.recover(db.clone(), Arc::clone(&workers), archive);
    let keeping = keeper::run(registry.clone(), policy, config.data_dir.clone());
    shutdown.tasks.spawn(watcher.run());
    shutdown.spawn(keeping);
    shutdown.spawn(recovery);
    shutdown.spawn(look_at_worker(registry.clone()));
    shutdown.spawn(registry.context().admission.clone().watch_processes());
    let serving = listener::serve(listener, tls.clone(), service, shutdown.clone());
    shutdown.tasks.spawn(serving);
    announce_address(address, tls.as_ref(), &shutdown);

    let reloader = Reloader {
        args: args.clone(),
        config,
        store,
        gate,
        limits: workers.limits().clone(),
        log,
        tls,
    };
    let manager = ServiceManager::from_lookup(|name| std::env::var(name).ok());
    manager.ready();
    let signal = until_end(&mut signals, reloader, &manager).await;
    tracing::info!(signal, "shutting down");
    manager.stopping();
    end((registry, webhooks), &shutdown, db).await;
    Ok(())
}

/// Says where it is served, and has the certificate looked after.
fn announce_address(address: SocketAddr, tls: Option<&Tls>, shutdown: &Shutdown) {
    let scheme = match tls {
        Some(tls) => {
            shutdown.spawn(tls.clone().watch());
            "https"
        }
        None => "http",
    };
    announce(&format!("listening on {scheme}://{address}"));
}

/// Who starts workers and asks them, as it is configured.
pub(super) fn workers(config: &Config, shutdown: &Shutdown) -> Workers {
    Workers::new(
        config.worker.clone(),
        config.formats_dir.clone(),
        config.timings,
        Limits::new(config.limits.clone()),
        shutdown.tasks.clone(),
    )
}

/// Runs until a signal asks for the end, and names it.
async fn until_end(
    signals: &mut Signals,
    mut reloader: Reloader,
    manager: &ServiceManager,
) -> &'static str {
    let mut watchdog = manager.watchdog_interval().map(interval);
    loop {
        let alive = async {
            match &mut watchdog {
                Some(watchdog) => drop(watchdog.tick().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::End(signal) => return signal,
                Asked::Reload => {
                    manager.reloading();
                    reloader.reload().await;
                    manager.ready();
                }
            },
            () = alive => manager.alive(),
        }
    }
}

/// Sessions first, so that viewers hear 1001 and files are complete; then everything else.
async fn end((registry, webhooks): (Registry, Webhooks), shutdown: &Shutdown, db: Db) {
    shutdown.token.cancel();
    let ending = async {
        registry.shut_down().await;
        shutdown.finish_periods().await;
        webhooks.finish().await;
        shutdown.tasks.close();
        shutdown.tasks.wait().await;
    };
    if timeout(SHUTDOWN_LIMIT, ending).await.is_err() {
        tracing::error!("not everything ended in time");
    }
    drop((registry, webhooks));
    let _ = timeout(Duration::from_secs(2), db.close()).await;
}

/// What is wrong with the worker, or with what it is asked for, is told before it is needed.
async fn look_at_worker(registry: Registry) {
    let format = &registry.current().settings.default_output_format;
    match registry.context().workers.probe().await {
        Ok(probe) => {
            if let Err(error) = check_default_format(Some(probe), format) {
                tracing::error!(error = error.chain(), "recordings need another format");
            }
        }
        Err(error) => tracing::error!(error = error.chain(), "sessions can't be started"),
    }
    let context = registry.context();
    measure(context.admission.clone(), &context.workers, &context.db).await;
}

pub(super) fn registry(
    config: &Config,
    db: &Db,
    workers: &Arc<Workers>,
    (store, policy): (&Store, &PolicySource),
    shutdown: &Shutdown,
) -> Result<Registry, Error> {
    let mut patience = pumpfun_api::Options::default();
    // Who repeats are the upstream, which paces all, and the sessions, each with its own pauses.
    patience.max_attempts = 1;
    let client = pumpfun_api::Client::with_options(config.pumpfun.clone(), patience)
        .map_err(|error| Error::internal("setting up the client of pump.fun", error))?;
    let events = Events::new();
    let archive = Archive::new(
        db.clone(),
        Arc::clone(workers),
        events.clone(),
        Arc::clone(policy),
        config.data_dir.join("thumbnails"),
    );
    let upstream = Upstream::new(client);
    let pumpfun = Catalogue::new(upstream, db.clone(), store.subscribe(), shutdown.clone());
    let settings = store.current();
    let context = Context {
        db: db.clone(),
        admission: Admission::new(Machine::look(), config.shares),
        workers: Arc::clone(workers),
        sources: Sources {
            pumpfun: Arc::new(pumpfun),
            livekit: settings.livekit.clone(),
            ice_addresses: config.ice_addresses.clone(),
            demo: config.demo,
        },
        library: Library::new(
            settings.recording_directory.clone(),
            settings.disk_reserve_bytes,
            db.clone(),
        ),
        archive,
        events,
        runtime_dir: Arc::new(RuntimeDir::create(&config.data_dir)?),
        settings,
        formats_dir: config.formats_dir.clone(),
        shutdown: shutdown.clone(),
        limits: workers.limits().clone(),
        worker_restarts: Arc::default(),
    };
    Ok(Registry::new(context, store.subscribe()))
}

/// What is kept of the recordings, and how much of the disk is left free.
fn policy_source(config: &Config, store: &Store) -> PolicySource {
    let (settings, retain_free_bytes) = (store.subscribe(), config.retain_free_bytes);
    Arc::new(move || {
        let settings = settings.borrow();
        Policy {
            retain_days: settings.retain_days,
            retain_bytes: settings.retain_bytes,
            retain_free_bytes,
            disk_reserve_bytes: settings.disk_reserve_bytes,
        }
    })
}

/// A socket that listens, and its address.
async fn bind(config: &Config) -> Result<(TcpListener, SocketAddr), Error> {
    let fail = |error| {
        let message = format!("can't listen on {}: choose another --listen", config.listen);
        Error::new(Kind::Unavailable, "cannot_listen", message).caused_by(error)
    };
    let listener = TcpListener::bind(config.listen).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((listener, address))
}

fn unusable(path: &Path) -> Error {
    let message = format!("the folder {} can't be used", path.display());
    Error::new(Kind::Unavailable, "unusable_folder", message)
}

fn make_private_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| unusable(path).caused_by(error))
}

/// One server per data folder: the lock goes with the process, however it ends.
pub(super) fn lock(data_dir: &Path) -> Result<File, Error> {
    let path = data_dir.join("haven.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| unusable(data_dir).caused_by(error))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        let message = format!(
            "another haven serve uses {}: stop it, or choose another --data-dir",
            data_dir.display()
        );
        Error::new(Kind::Conflict, "data_dir_in_use", message).caused_by(error)
    })?;
    Ok(file)
}

/// Standard output may be closed or full; the server runs all the same.
fn announce(line: &str) {
    let mut out = std::io::stdout();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        tracing::warn!(line, "standard output can't be written to");
    }
}
