//! What a child process does.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::ExitCode;

use manyhands_model::Digest;

use crate::engine::{Infrastructure, Prepared, Wasm};
use crate::sandbox::CHILD_ARGUMENT;
use crate::sandbox::lockdown::{self, Role};
use crate::sandbox::wire::{Request, Response, read, write};

/// Modules that a slot keeps ready.
const MODULES_MAX: usize = 16;

/// Becomes a child if this process was started as one. Call it first thing in `main`.
pub fn run_if_child() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()?.to_str() != Some(CHILD_ARGUMENT) {
        return None;
    }
    let role = match arguments.next()?.to_str() {
        Some("compile") => Role::Compiler,
        _ => Role::Slot,
    };
    match serve(role) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            // The parent reads standard error only to show it.
            let _gone = writeln!(io::stderr(), "sandbox: {error}");
            Some(ExitCode::from(70))
        }
    }
}

fn serve(role: Role) -> io::Result<()> {
    // Afterwards it can no longer be asked for.
    let parent = std::os::unix::process::parent_id();
    let (enforced, pagemap) = lockdown::enter(role)?;
    let (mut from, mut to) = (io::stdin(), io::stdout());
    let wasm = match Wasm::with_pagemap(pagemap) {
        Ok(wasm) => wasm,
        Err(error) => return write(&mut to, &Response::Failed(error)),
    };
    write(&mut to, &Response::Ready(enforced, wasm.fingerprint()))?;
    let mut slot = Child { wasm, parent, modules: BTreeMap::new() };
    while let Some(request) = read(&mut from)? {
        let response = slot.answer(request);
        write(&mut to, &response)?;
    }
    Ok(())
}

struct Child {
    wasm: Wasm,
    parent: u32,
    modules: BTreeMap<Digest, Prepared>,
}

impl Child {
    fn answer(&mut self, request: Request) -> Response {
        let answered = match request {
            Request::Compile(module) => self.wasm.compile(&module).map(Response::Compiled),
            Request::Load(digest, compiled) => self.wasm.prepare(&compiled).map(|prepared| {
                if self.modules.len() >= MODULES_MAX {
                    self.modules.pop_first();
                }
                self.modules.insert(digest, prepared);
                Response::Loaded
            }),
            Request::Execute(digest, execution) => match self.modules.get(&digest) {
                None => Err(Infrastructure("the module is not loaded".into())),
                Some(module) => {
                    let mut last = 0;
                    let progress = move |permille: u16| {
                        // A guest may say so a million times; a percent more is enough for people, and backwards
                        // never is, so that there are at most a hundred of these.
                        if permille >= last + 10 {
                            last = permille;
                            let _parent_gone = write(&mut io::stdout(), &Response::Progress(permille));
                        }
                    };
                    let executed = self.wasm.execute(module, execution, Box::new(progress));
                    executed.map(|executed| Response::Executed(Box::new(executed)))
                }
            },
            Request::Probe => {
                Ok(Response::Probed { possible: lockdown::probe(self.parent), knows_pages: self.wasm.knows_pages() })
            }
        };
        answered.unwrap_or_else(Response::Failed)
    }
}
