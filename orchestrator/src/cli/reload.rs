//! SIGHUP: the configuration is read again, and taken over as far as a running server can.

use super::log::LogControl;
use crate::{
    Error,
    api::{Gate, GateSlot},
    config::{Config, ServeArgs, Store, keys},
    limits::Limits,
    tls::Tls,
};
use std::sync::Arc;

/// What a running server takes over of a changed configuration.
pub(super) struct Reloader {
    pub(super) args: ServeArgs,
    /// As it was read last.
    pub(super) config: Config,
    pub(super) store: Arc<Store>,
    pub(super) gate: GateSlot,
    pub(super) limits: Limits,
    pub(super) log: LogControl,
    pub(super) tls: Option<Tls>,
}

impl Reloader {
    /// Reads the configuration again. What is wrong with it is logged, and all stays as it was.
    pub(super) async fn reload(&mut self) {
        match self.take_over().await {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(error) => {
                let error = error.chain();
                tracing::error!(error, "the configuration stays as it was");
            }
        }
    }

    async fn take_over(&mut self) -> Result<(), Error> {
        let config = Config::resolve(&self.args, |name| std::env::var(name).ok())?;
        if let Some(tls) = &self.tls {
            tls.reload().await?;
        }
        self.store.reload(config.layers.clone()).await?;
        self.limits.replace(config.limits.clone());
        // Viewers' sockets know the origins that there were at the start.
        let origins = self.config.origins.clone();
        self.gate.replace(Gate::new(&Config {
            origins,
            ..config.clone()
        }));
        if config.log_filter != self.config.log_filter
            && let Err(error) = self.log.set(&config.log_filter)
        {
            tracing::warn!(
                error,
                filter = config.log_filter,
                "log_filter stays as it was"
            );
        }
        let changed = config.file.changed(&self.config.file);
        for key in keys().iter().filter(|key| changed.contains(&key.name)) {
            match key.reloaded {
                true => tracing::info!(key = key.name, "a setting was changed"),
                false => tracing::warn!(key = key.name, "a changed setting needs a restart"),
            }
        }
        self.config = config;
        Ok(())
    }
}
