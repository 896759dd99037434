//! A visitor who lies: the attacker's own page, whose slot changes one byte of what guests write.

use manyhands_tests::browser::Kind;
use manyhands_tests::{Coordinator, Page, Site, jobs, until};
use serde_json::Value;

use crate::{browser, in_each_browser};

in_each_browser! {
    a_browser_that_lies_is_found_out
}

/// Put behind the slot's own script.
const LIE: &str = "
    const tell = self.postMessage.bind(self);
    self.postMessage = (said, given) => {
        if (said instanceof ArrayBuffer) {
            const reply = new Uint8Array(said);
            reply[reply.length - 1] ^= 1;
        }
        tell(said, given);
    };";

async fn a_browser_that_lies_is_found_out(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let site = Site::of(Page::default()).await;
    browser.open(&site.origin()).await;
    let base = coordinator.url("");
    let _started: Value = browser
        .run(&format!(
            r#"
            const base = "{base}";
            const embed = await (await fetch(base + "/embed.js")).text();
            const files = JSON.parse(embed.match(/const ASSETS = (.*);/)[1]);
            const get = async (name) => (await fetch(base + files[name].path)).arrayBuffer();
            const url = (...parts) => URL.createObjectURL(new Blob(parts, {{ type: "text/javascript" }}));
            const {{ fingerprint }} = await (await fetch(base + "/v1/card")).json();
            const runtime = await get("runtime");
            const pool = new Worker(url(await get("pool")));
            const toPool = new MessageChannel();
            pool.postMessage(null, [toPool.port2]);
            const {{ port1, port2 }} = new MessageChannel();
            toPool.port1.postMessage({{ slot: await new Blob([await get("slot"), `{LIE}`]).arrayBuffer() }}, [port1]);
            const start = {{
                base, coordinator: fingerprint, runtime, pool: port2, engine: "a liar",
                pace: {{ slots: 1, permille: 1000 }},
                wishes: {{ onBattery: true, onMetered: true, whileHidden: true, from: 0, to: 0 }},
                senses: {{ onBattery: false, onMetered: false, isHidden: false, minute: 0 }},
            }};
            globalThis.settled = [];
            globalThis.recorded = 0;
            const mind = new Worker(url(await get("mind")));
            mind.onmessage = ({{ data }}) => {{ 
                if (data.said?.word === "recorded") recorded += 1;
                if (data.said?.word === "settled") settled.push(data.said.text);
            }};
            mind.postMessage({{ start }}, [runtime, port2]);"#
        ))
        .await;
    until("the liar is there", async || (coordinator.connected().await == 1).then_some(())).await;
    let liar = coordinator.workers().await.remove(0).id;
    let inputs = jobs::texts(8);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted").id;
    // It comes first, so that its answers are in the way; only then is there anybody else.
    let lied = async || browser.run::<bool>("return recorded >= 3").await.then_some(());
    until("it has lied", lied).await;
    let _honest = coordinator.runners(2).await;
    let answers: Vec<_> = inputs.iter().map(|input| jobs::hash(input)).collect();
    assert_eq!(coordinator.outputs(run).await, answers);
    let found_out = async || coordinator.workers().await.into_iter().find(|worker| worker.id == liar && worker.banned);
    let liar = until("three contradictions are enough", found_out).await;
    assert!(liar.dissents >= 3 && liar.agreed == 0, "{liar:?}");
    let others = coordinator.workers().await;
    assert!(others.iter().all(|worker| worker.id == liar.id || worker.dissents == 0), "{others:?}");
    let told: Vec<String> = browser.run("return settled").await;
    assert!(told.iter().all(|word| word == "contradicted"), "{told:?}");
}
