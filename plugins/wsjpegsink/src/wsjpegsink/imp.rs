//! element-wsjpegsink:
//!
//! Shows JPEG pictures, and sound if there is any, to browsers over WebSocket. The newest picture
//! is what a viewer gets next: one that is slow skips, slows nobody and costs no memory.
//!
//! It listens from READY to PAUSED on, whether data flows or not, and serves a page to watch with
//! at `/`. The protocols are described in docs/elements/wsjpegsink.md. For viewers beyond a few
//! thousand, or over the Internet, use HLS or a WebRTC server instead: JPEG costs many times the
//! bandwidth of a video codec.
//!
//! ```text
//! gst-launch-1.0 videotestsrc is-live=true ! jpegenc ! wsjpegsink name=s port=8080 \
//!     audiotestsrc is-live=true ! audio/x-raw,rate=44100,channels=1 ! s.audio
//! ```

use super::{
    clients::{Handlers, stats},
    media::{Media, Rejected},
    pads::{AUDIO_PAD, VIDEO_PAD, apply, templates},
    properties::{PROP_CLIENTS, PROP_PORT, PROP_STATS, get, properties, set, signals},
};
use crate::{
    listen::{Endpoint, StartError},
    server::{Server, ServerOptions},
    settings::Settings,
};
use gst::{
    glib::{self, subclass::Signal},
    prelude::*,
    subclass::prelude::*,
};
use gst_app::{AppSink, AppSinkCallbacks};
use parking_lot::Mutex;
use std::sync::{Arc, LazyLock};
use viewer_socket::OriginPolicy;

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "wsjpegsink",
        gst::DebugColorFlags::empty(),
        Some("JPEG and PCM over WebSocket"),
    )
});

/// What is true now.
#[derive(Debug, Default)]
struct State {
    server: Option<Server>,
    video: Option<Input>,
    audio: Option<Input>,
}

/// A pad and the sink behind it.
#[derive(Debug)]
struct Input {
    sink: AppSink,
    pad: gst::GhostPad,
    ended: bool,
}

/// The element. Lock order: `settings`, then `state`; neither is held while anything is emitted,
/// posted, added or waited for.
#[derive(Debug, Default)]
pub struct WsJpegSink {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    media: Arc<Media>,
}

#[glib::object_subclass]
impl ObjectSubclass for WsJpegSink {
    const NAME: &'static str = "GstWsJpegSink";
    type Type = super::WsJpegSink;
    type ParentType = gst::Bin;
}

impl ObjectImpl for WsJpegSink {
    fn properties() -> &'static [glib::ParamSpec] {
        properties()
    }

    fn signals() -> &'static [Signal] {
        signals()
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        obj.set_suppressed_flags(gst::ElementFlags::SINK | gst::ElementFlags::SOURCE);
        obj.set_element_flags(gst::ElementFlags::SINK);
        match self.add_input(VIDEO_PAD) {
            Ok(input) => self.state.lock().video = Some(input),
            Err(error) => gst::error!(CAT, imp = self, "no video input: {error}"),
        }
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let settings = {
            let mut settings = self.settings.lock();
            if !set(&mut settings, value, pspec) {
                gst::warning!(CAT, imp = self, "property {} can't be set", pspec.name());
            }
            settings.clone()
        };
        for sink in self.sinks() {
            apply(&settings, &sink);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            PROP_CLIENTS => return self.media.roster.count().to_value(),
            PROP_STATS => return stats(&self.media).to_value(),
            PROP_PORT => {
                if let Some(port) = self.bound_port() {
                    return u32::from(port).to_value();
                }
            }
            _ => {}
        }
        get(&self.settings.lock(), pspec)
    }
}

impl GstObjectImpl for WsJpegSink {}

impl ElementImpl for WsJpegSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "WebSocket JPEG sink",
                "Sink/Network/Video",
                "Shows JPEG pictures and PCM sound to browsers over WebSocket",
                "The Haven developers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        templates()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::ReadyToPaused {
            self.start()?;
        }
        let changed = self.parent_change_state(transition);
        let stops = match transition {
            gst::StateChange::ReadyToPaused => changed.is_err(),
            gst::StateChange::PausedToReady | gst::StateChange::ReadyToNull => true,
            _ => false,
        };
        if stops {
            self.stop();
        }
        changed
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        _name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        if template.name_template() != AUDIO_PAD || self.state.lock().audio.is_some() {
            gst::warning!(CAT, imp = self, "there is one audio pad, and it is taken");
            return None;
        }
        match self.add_input(AUDIO_PAD) {
            Ok(input) => {
                let pad = input.pad.clone().upcast();
                self.state.lock().audio = Some(input);
                Some(pad)
            }
            Err(error) => {
                gst::error!(CAT, imp = self, "no audio input: {error}");
                None
            }
        }
    }

    fn release_pad(&self, pad: &gst::Pad) {
        let input = {
            let mut state = self.state.lock();
            let is_ours = |input: &mut Input| input.pad.upcast_ref::<gst::Pad>() == pad;
            state.audio.take_if(is_ours)
        };
        let Some(input) = input else {
            return;
        };
        input.sink.set_locked_state(true);
        // Nothing can be done about a sink that doesn't stop.
        _ = input.pad.set_active(false);
        _ = input.sink.set_state(gst::State::Null);
        _ = input.pad.set_target(None::<&gst::Pad>);
        _ = self.obj().remove(&input.sink);
        _ = self.obj().remove_pad(&input.pad);
    }
}

impl BinImpl for WsJpegSink {}

impl WsJpegSink {
    /// Makes a pad with its sink behind it.
    fn add_input(&self, name: &'static str) -> Result<Input, glib::BoolError> {
        let obj = self.obj();
        let settings = self.settings.lock().clone();
        let sink = AppSink::builder()
            .name(format!("{name}-input"))
            .enable_last_sample(false)
            .max_buffers(2)
            .callbacks(self.callbacks(name))
            .build();
        apply(&settings, &sink);
        let missing = || glib::bool_error!("no pad or no template of the name {name}");
        let template = obj.pad_template(name).ok_or_else(missing)?;
        let target = sink.static_pad("sink").ok_or_else(missing)?;
        sink.set_caps(Some(template.caps()));
        obj.add(&sink)?;
        let pad = gst::GhostPad::builder_from_template_with_target(&template, &target)?
            .name(name)
            .build();
        pad.set_active(obj.current_state() >= gst::State::Paused)?;
        obj.add_pad(&pad)?;
        sink.sync_state_with_parent()?;
        Ok(Input {
            sink,
            pad,
            ended: false,
        })
    }

    fn callbacks(&self, name: &'static str) -> AppSinkCallbacks {
        let (weak, ended) = (self.downgrade(), self.downgrade());
        AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let imp = weak.upgrade().ok_or(gst::FlowError::Flushing)?;
                // No sample: it is being shut down or flushed.
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Flushing)?;
                imp.show(name, &sample);
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| {
                if let Some(imp) = ended.upgrade() {
                    imp.input_ended(name);
                }
            })
            .build()
    }

    fn show(&self, name: &str, sample: &gst::Sample) {
        gst::trace!(CAT, imp = self, "{name}: {:?}", sample.buffer());
        self.set_ended(name, false);
        let shown = match name {
            VIDEO_PAD => self.media.video(sample),
            _ => self.media.audio(sample),
        };
        match shown {
            Ok(()) => {}
            // A camera's broken picture is no reason to end the stream.
            Err(rejected @ Rejected::NotJpeg) => {
                gst::warning!(CAT, imp = self, "{name}: {rejected}, it is passed over");
            }
            Err(rejected) => gst::warning!(CAT, imp = self, "{name}: {rejected}"),
        }
    }

    fn set_ended(&self, name: &str, ended: bool) -> bool {
        let mut state = self.state.lock();
        let input = match name {
            VIDEO_PAD => &mut state.video,
            _ => &mut state.audio,
        };
        if let Some(input) = input {
            input.ended = ended;
        }
        let mut inputs = state.video.iter().chain(&state.audio);
        inputs.all(|input| input.ended || !input.pad.is_linked())
    }

    /// When every input that is linked has ended, so has the stream.
    fn input_ended(&self, name: &str) {
        gst::debug!(CAT, imp = self, "{name}: end of stream");
        if self.set_ended(name, true) {
            gst::info!(CAT, imp = self, "end of stream: viewers are sent away");
            self.media.end();
        }
    }

    fn sinks(&self) -> Vec<AppSink> {
        let state = self.state.lock();
        let inputs = state.video.iter().chain(&state.audio);
        inputs.map(|input| input.sink.clone()).collect()
    }

    fn bound_port(&self) -> Option<u16> {
        let state = self.state.lock();
        Some(state.server.as_ref()?.local()?.port())
    }

    /// Sends a client away with 1008; false where there is none of that number.
    pub(super) fn drop_client(&self, id: u64) -> bool {
        let found = self.media.roster.dismiss(id);
        gst::info!(CAT, imp = self, "drop client {id}: found {found}");
        found
    }

    fn start(&self) -> Result<(), gst::StateChangeError> {
        let settings = self.settings.lock().clone();
        let origins = OriginPolicy::new(settings.origins()).map_err(|error| {
            gst::element_imp_error!(self, gst::LibraryError::Settings, ("origins: {error}"));
            gst::StateChangeError
        })?;
        self.media.begin(settings.stream_name.clone());
        let options = ServerOptions {
            endpoint: match settings.socket_path {
                Some(ref path) => Endpoint::Unix(path.clone()),
                None => Endpoint::Tcp {
                    address: settings.address.clone(),
                    port: settings.port,
                },
            },
            path: settings.path.clone(),
            origins,
            max_clients: settings.max_clients,
            client_timeout: settings.client_timeout(),
            ping_interval: settings.ping_interval(),
        };
        let endpoint = options.endpoint.clone();
        let clients = Arc::new(Handlers {
            element: self.downgrade(),
            media: Arc::clone(&self.media),
            max: settings.max_clients,
        });
        let server = Server::start(options, clients).map_err(|error| {
            self.start_failed(&error);
            gst::StateChangeError
        })?;
        let local = server.local();
        self.state.lock().server = Some(server);
        match local {
            Some(address) => {
                let path = settings.path.trim_matches('/');
                gst::info!(CAT, imp = self, "listening on http://{address}/{path}");
                if u32::from(settings.port) != u32::from(address.port()) {
                    self.obj().notify(PROP_PORT);
                }
            }
            None => gst::info!(CAT, imp = self, "listening on {endpoint:?}"),
        }
        Ok(())
    }

    fn start_failed(&self, error: &StartError) {
        match error {
            StartError::Busy { .. } => {
                gst::element_imp_error!(self, gst::ResourceError::Busy, ("{error}"));
            }
            StartError::Listen { .. } => {
                gst::element_imp_error!(self, gst::ResourceError::OpenReadWrite, ("{error}"));
            }
            StartError::Threads(_) => {
                gst::element_imp_error!(self, gst::CoreError::Thread, ("{error}"));
            }
        }
    }

    fn stop(&self) {
        let server = self.state.lock().server.take();
        if let Some(server) = server {
            server.stop();
            gst::info!(CAT, imp = self, "stopped");
        }
        let mut state = self.state.lock();
        let State { video, audio, .. } = &mut *state;
        for input in video.iter_mut().chain(audio) {
            input.ended = false;
        }
    }
}
