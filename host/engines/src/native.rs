//! wasmtime in this process, with either of its compilers.

use manyhands_abi as abi;
use manyhands_javascript::frame::{
    ABORTED, CALLED, CALLS_TOO_LONG, ENGINE, OUTPUT_TOO_LONG, RETURNED, Raw, TOO_MANY_CALLS, TRAPPED,
};
use manyhands_protocol::Entry;
use wasmtime::{Caller, Config, Extern, InstancePre, Linker, Module, Store, Strategy, Trap};

use crate::{Engine, Executed, Failure, Unit, weave};

/// Stack for the guest: so much that only its own count of it ends an execution, with the larger frames of a
/// quick compiler as well.
const GUEST_STACK_BYTES: usize = 16 << 20;
/// Stack of the thread that executes, for the guest and for the host functions that it calls.
const THREAD_STACK_BYTES: usize = GUEST_STACK_BYTES + (2 << 20);

/// One compiler of wasmtime's.
pub struct Native {
    linker: Linker<Host>,
    module: Option<InstancePre<Host>>,
}

impl Native {
    /// Sets it up. It has no deadline: fuel is what ends a module.
    ///
    /// # Errors
    /// [`Failure::Gone`] where this processor has no such compiler.
    pub fn new(compiler: Strategy) -> Result<Self, Failure> {
        let mut config = Config::new();
        // The first is not used here, and still has to be the larger one.
        config.async_stack_size(THREAD_STACK_BYTES).max_wasm_stack(GUEST_STACK_BYTES);
        config.strategy(compiler).wasm_backtrace_max_frames(None);
        let gone = |error: wasmtime::Error| Failure::Gone(format!("{error:#}"));
        let linker = linker(&wasmtime::Engine::new(&config).map_err(gone)?).map_err(gone)?;
        Ok(Self { linker, module: None })
    }
}

impl Engine for Native {
    fn load(&mut self, sealed: &[u8]) -> Result<(), Failure> {
        self.module = None;
        let module = Module::new(self.linker.engine(), sealed).and_then(|module| self.linker.instantiate_pre(&module));
        self.module = Some(module.map_err(|error| Failure::Refused(format!("{error:#}")))?);
        Ok(())
    }

    fn execute(&mut self, unit: &Unit<'_>) -> Result<Executed, Failure> {
        let module = self.module.as_ref().ok_or_else(|| Failure::Refused("no module is loaded".into()))?;
        let gone = |error: &dyn std::fmt::Display| Failure::Gone(error.to_string());
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES);
            let thread = thread.spawn_scoped(scope, || execute(module, unit)).map_err(|error| gone(&error))?;
            thread.join().map_err(|_| gone(&"it panicked"))?
        })
    }
}

fn execute(module: &InstancePre<Host>, unit: &Unit<'_>) -> Result<Executed, Failure> {
    let unreadable = |error| Failure::Gone(format!("the answers cannot be read: {error}"));
    let mut parts = match unit.step {
        0 => vec![unit.input],
        _ => abi::parts::decode(unit.input).map_err(unreadable)?,
    }
    .into_iter()
    .map(<[u8]>::to_vec);
    let input = parts.next().unwrap_or_default();
    let host = Host {
        input,
        answers: parts.collect(),
        asked: 0,
        seed: unit.seed,
        output_bytes_max: unit.limits.output_bytes,
        output: Vec::new(),
        logs: Vec::new(),
        log_bytes: 0,
        told: 0,
    };
    let mut store = Store::new(module.module().engine(), host);
    let (mut meter, mut cause) = (0, 0);
    let ended = (|| {
        let instance = module.instantiate(&mut store)?;
        let name = match unit.entry {
            Entry::Run => abi::RUN,
            Entry::Reduce => abi::REDUCE,
        };
        let missing = || wasmtime::Error::msg("the module is not sealed");
        let meter_global = instance.get_global(&mut store, abi::METER).ok_or_else(missing)?;
        let cause_global = instance.get_global(&mut store, abi::CAUSE).ok_or_else(missing)?;
        let fresh = meter_global.get(&mut store).i64().ok_or_else(missing)?;
        meter_global.set(&mut store, manyhands_verifier::ending::granted(fresh, unit.limits.fuel).into())?;
        let ended = instance.get_typed_func::<(), ()>(&mut store, name)?.call(&mut store, ());
        meter = meter_global.get(&mut store).i64().ok_or_else(missing)?;
        cause = cause_global.get(&mut store).i32().ok_or_else(missing)?;
        ended
    })();
    let host = store.into_data();
    let (stop, code, message) = match &ended {
        Ok(()) => (RETURNED, 0, Vec::new()),
        Err(error) => match (error.downcast_ref(), error.downcast_ref()) {
            (Some(Left::Aborted { code, message }), _) => (ABORTED, *code, message.clone()),
            (Some(Left::Stopped(stop)), _) => (*stop, 0, Vec::new()),
            (None, Some(trap)) if !matches!(trap, Trap::StackOverflow | Trap::Interrupt) => (TRAPPED, 0, Vec::new()),
            _ => (ENGINE, 0, format!("{error:#}").into_bytes()),
        },
    };
    let raw = Raw { stop, meter, cause, code, message: &message, logs: host.logs, output: &host.output };
    Ok(raw.judge(&unit.limits)?)
}

/// What the guest's host functions work on.
struct Host {
    input: Vec<u8>,
    /// The answers to its requests.
    answers: Vec<Vec<u8>>,
    /// How often it asked.
    asked: usize,
    seed: [u8; abi::SEED_BYTES],
    output_bytes_max: u64,
    output: Vec<u8>,
    logs: Vec<(u8, String)>,
    log_bytes: usize,
    /// Numbers of a module that [`weave`] wrote.
    told: usize,
}

/// How host functions leave the guest.
#[derive(Debug, thiserror::Error)]
enum Left {
    #[error("aborted")]
    Aborted { code: u32, message: Vec<u8> },
    #[error("stopped with {0}")]
    Stopped(u8),
}

type Result2<T> = Result<T, wasmtime::Error>;

fn linker(engine: &wasmtime::Engine) -> Result2<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let space = abi::NAMESPACE;
    linker.func_wrap(space, abi::INPUT_LEN, |caller: Caller<'_, Host>| caller.data().input.len() as u32)?;
    linker.func_wrap(space, abi::INPUT_READ, |mut caller: Caller<'_, Host>, to: u32, offset: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        let source = within(&mut host.input, offset, bytes)?;
        within(memory, to, bytes)?.copy_from_slice(source);
        Result2::Ok(())
    })?;
    linker.func_wrap(space, abi::SEED_READ, |mut caller: Caller<'_, Host>, to: u32| {
        let (memory, host) = guest(&mut caller)?;
        within(memory, to, abi::SEED_BYTES as u32)?.copy_from_slice(&host.seed);
        Result2::Ok(())
    })?;
    linker.func_wrap(space, abi::OUTPUT_WRITE, |mut caller: Caller<'_, Host>, from: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        let written = within(memory, from, bytes)?;
        if (host.output.len() + written.len()) as u64 > host.output_bytes_max {
            return Err(Left::Stopped(OUTPUT_TOO_LONG).into());
        }
        host.output.extend_from_slice(written);
        Ok(())
    })?;
    linker.func_wrap(space, abi::CALL, |mut caller: Caller<'_, Host>, from: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        let request = within(memory, from, bytes)?;
        host.asked += 1;
        let stop = match host.answers.get(host.asked - 1) {
            _ if request.len() > abi::CALLS_BYTES_MAX => CALLS_TOO_LONG,
            _ if host.asked > abi::CALLS_MAX => TOO_MANY_CALLS,
            Some(answer) => return Ok(answer.len() as u32),
            None => CALLED,
        };
        host.output = request.to_vec();
        Err(wasmtime::Error::from(Left::Stopped(stop)))
    })?;
    linker.func_wrap(space, abi::ANSWER_READ, |mut caller: Caller<'_, Host>, to: u32, offset: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        let nothing = &mut Vec::new();
        let answer = host.asked.checked_sub(1).and_then(|last| host.answers.get_mut(last)).unwrap_or(nothing);
        let source = within(answer, offset, bytes)?;
        within(memory, to, bytes)?.copy_from_slice(source);
        Result2::Ok(())
    })?;
    linker.func_wrap(space, abi::LOG, |mut caller: Caller<'_, Host>, level: u32, from: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        let text = within(memory, from, bytes)?;
        let room = abi::LOG_BYTES_MAX.saturating_sub(host.log_bytes);
        if room > 0 {
            let text = &text[..text.len().min(room)];
            // An empty line takes room as well.
            host.log_bytes += text.len().max(1);
            host.logs.push((level.min(4) as u8, abi::text::clean(text)));
        }
        Result2::Ok(())
    })?;
    linker.func_wrap(space, weave::TRACE, |mut caller: Caller<'_, Host>, number: i64| {
        let host = caller.data_mut();
        if host.told < weave::TRACE_MAX {
            host.logs.push((weave::TRACE_LEVEL, format!("{number:x}")));
        }
        host.told += 1;
    })?;
    linker.func_wrap(space, abi::PROGRESS, |_: Caller<'_, Host>, _: u32| {})?;
    linker.func_wrap(space, abi::ABORT, |mut caller: Caller<'_, Host>, code: u32, from: u32, bytes: u32| {
        let (memory, _) = guest(&mut caller)?;
        let text = within(memory, from, bytes)?;
        let message = text[..text.len().min(abi::ABORT_MESSAGE_BYTES_MAX)].to_vec();
        Result2::<()>::Err(Left::Aborted { code, message }.into())
    })?;
    Ok(linker)
}

fn within(all: &mut [u8], from: u32, bytes: u32) -> Result2<&mut [u8]> {
    let range = from.checked_add(bytes).map(|end| from as usize..end as usize);
    range.and_then(|range| all.get_mut(range)).ok_or_else(|| Trap::MemoryOutOfBounds.into())
}

fn guest<'a>(caller: &'a mut Caller<'_, Host>) -> Result2<(&'a mut [u8], &'a mut Host)> {
    // The sealer made sure that there is one.
    let memory = caller.get_export(abi::MEMORY).and_then(Extern::into_memory).ok_or(Trap::MemoryOutOfBounds)?;
    Ok(memory.data_and_store_mut(caller))
}
