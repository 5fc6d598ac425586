// Sends every call with @segment/analytics-node, then says which errors there were: node node.mjs FOLDER HOST WRITE_KEY USER
import { createRequire } from "node:module"

const [folder, host, writeKey, userId] = process.argv.slice(2)
const { Analytics } = createRequire(`${folder}/`)("@segment/analytics-node")

const analytics = new Analytics({ host, writeKey, flushAt: 4, flushInterval: 50, maxRetries: 3 })
const errors = []
analytics.on("error", (error) => errors.push(String(error.code ?? error)))
analytics.identify({ userId, traits: { name: "李雷" } })
analytics.track({ userId, event: "Order Completed", properties: { total: 12.5 } })
analytics.page({ userId, name: "Docs" })
analytics.screen({ userId, name: "Home" })
analytics.group({ userId, groupId: "g1", traits: { plan: "pro" } })
analytics.alias({ userId, previousId: "anonymous-1" })
for (let number = 0; number < 20; number++) analytics.track({ userId, event: "Counted", properties: { number } })
await analytics.closeAndFlush()
console.log(JSON.stringify(errors))
