// Every word of the console, in English and Chinese.

const WORDS = {
  en: {
    skip: "Skip to the content", overview: "Overview", segments: "Segments", profile: "Profile", triggers: "Triggers",
    definitions: "Definitions", letters: "Dead letters", theme: "Dark or light", language: "中文", token: "Token", open: "Open",
    tokenHelp: "Paste a token of `rtcdp tokens add`, or open the link that `rtcdp serve --link` prints.",
    fresh: "Behind by", complete: "Every profile is there", filling: "Being filled", lag: "Records not shown yet",
    perDay: "in 24 hours", allTriggers: "All triggers, 24 hours", allSegments: "All segments", funnel: "What became of it, 24 hours", perSecond: "a second", entries: "Entries", exits: "Exits", sent: "Sent", notSent: "Not sent", flow: "What happened, 24 hours",
    live: "Live", waiting: "Waiting for something to happen…", name: "Name", size: "Members", description: "Description",
    condition: "Condition", stages: "Stages", trend: "Size, 24 hours", members: "Members", entered: "Entered", csv: "Export CSV",
    more: "More", overlap: "Shared with", estimated: "estimated from a sample of", namespace: "Identifier", value: "Value", find: "Find",
    consent: "Consent", granted: "yes", denied: "no", byDefault: "by default", identity: "Identity", traits: "Traits", tags: "Tags", features: "Features", timeline: "Timeline", stage: "Stage", since: "since",
    why: "Why?", asOf: "As of", wakes: "Next change by time", never: "none", until: "until", considered: "Decided",
    rate: "Sent of decided", reasons: "Why not", channel: "Channel", current: "In force", draft: "Draft", check: "Check",
    apply: "Put in force", applyAsk: "Put this draft in force for every profile?", applied: "In force now", ok: "No errors",
    warnings: "warnings", errors: "errors", reason: "Reason", origin: "Origin", detail: "Detail", time: "Time", replay: "Send again",
    replayAsk: "Send these through ingest again?", replayed: "Sent again", none: "Nothing here.", neededFor: "To change it",
    holds: "holds", holdsNot: "does not hold", loading: "Loading…", waits: "Waiting triggers", offers: "Open offers", count: "Count", field: "Field", edit: "Edit these",
    drafts: "Drafts", version: "Version", state: "State", author: "By", note: "Note", reviews: "Reviews", show: "Show", approve: "Approve",
    reject: "Reject", withdraw: "Withdraw", propose: "Propose", proposed: "Proposed", state_draft: "draft", state_reviewed: "reviewed",
    state_rejected: "rejected", state_published: "published", review_none: "no review needed", review_one: "one review needed",
    "review_four-eyes": "four eyes needed", audit: "Audit", who: "Who", what: "What", whom: "Whom", from: "From", tenant: "Tenant", done: "done",
    refused: "refused", older: "There are older entries: narrow the search.",
    identifiers: "Who is whose", byEvent: "By event", alone: "No other identifier is known.",
    split: "Not theirs", splitAsk: "Take {one} out of {person}? Both become what they would be without it, for good.",
    splitting: "Both are made anew from the log…", apart: "They are two now.", approximate: "Not exact, since the log begins later",
    auditHelp: "Who read whom and who changed what, newest first. People are pseudonyms; look for one by the identifier.",
    backtest: "Test on the past", past: "How far back", testing: "Both versions are being folded over the log…", events: "events",
    profiles: "profiles", cut: "There is more than is read at once: this is the newest part.", joins: "Only in draft", leaves: "Only in force",
    inBoth: "Shared", joining: "For example, join", leaving: "For example, leave", perDaySent: "Sent a day", cost: "Cost", bytes: "Bytes a profile", eventsPerSecond: "Events/s",
    fromEmpty: "Every profile begins empty at the first event of this range: windows longer than it count too little, in both alike.",
    deliveries: "Deliveries", destination: "Destination", delivered: "Delivered", failed: "Failed", late: "Too late", withdrawn: "Withdrawn", attempts: "Attempts",
    queued: "Waiting", on: "on", held: "left alone for now", off: "off (410)", enable: "Turn on", enabled: "Turned on", dead: "Given up", lastError: "Last error",
    latency: "Mean time", resendAsk: "Deliver these again?", resent: "Delivered again soon", sinceStart: "since the deliverers started",
    not_again: "not again yet", not_cancelled: "called off", not_cap: "over its cap", not_consent: "no consent", not_cooldown: "too soon after the last",
    not_expired: "expired", not_holdout: "control group", not_max_age: "too old", not_priority: "another came first", not_quiet: "quiet hours",
    not_running: "still under way", not_superseded: "replaced by a later one", not_too_many: "too many waiting", not_withdrawn: "withdrawn",
    unwatched: "The server does not know where deliverers tell their figures: set deliver_metrics.", unanswered: "No answer from",
  },
  zh: {
    skip: "跳到内容", overview: "概览", segments: "人群", profile: "用户画像", triggers: "触发器",
    definitions: "定义", letters: "死信", theme: "深色或浅色", language: "English", token: "令牌", open: "进入",
    tokenHelp: "粘贴由 `rtcdp tokens add` 生成的令牌，或打开 `rtcdp serve --link` 打印的链接。",
    fresh: "延迟", complete: "全部画像就绪", filling: "正在填充", lag: "尚未显示的记录",
    perDay: "24 小时内", allTriggers: "全部触发器，24 小时", allSegments: "全部人群", funnel: "决策结果，24 小时", perSecond: "每秒", entries: "进入", exits: "离开", sent: "已发送", notSent: "未发送", flow: "过去 24 小时",
    live: "实时", waiting: "等待事件发生……", name: "名称", size: "人数", description: "说明",
    condition: "条件", stages: "生命周期阶段", trend: "人数，24 小时", members: "成员", entered: "进入时间", csv: "导出 CSV",
    more: "更多", overlap: "重叠", estimated: "由样本估计，样本数", namespace: "标识", value: "值", find: "查找",
    consent: "授权同意", granted: "同意", denied: "拒绝", byDefault: "默认", identity: "身份", traits: "属性", tags: "标签", features: "特征", timeline: "时间线", stage: "阶段", since: "自",
    why: "为什么？", asOf: "截至", wakes: "下次随时间变化", never: "无", until: "直到", considered: "决策",
    rate: "发送占比", reasons: "未发送原因", channel: "渠道", current: "生效中", draft: "草稿", check: "检查",
    apply: "生效", applyAsk: "让此草稿对所有画像生效？", applied: "已生效", ok: "没有错误",
    warnings: "个警告", errors: "个错误", reason: "原因", origin: "来源", detail: "详情", time: "时间", replay: "重新发送",
    replayAsk: "重新送入处理？", replayed: "已重新发送", none: "这里还没有内容。", neededFor: "如何改变",
    holds: "成立", holdsNot: "不成立", loading: "加载中……", waits: "等待中的触发器", offers: "有效的推荐", count: "数量", field: "字段", edit: "编辑这些",
    drafts: "草稿列表", version: "版本", state: "状态", author: "提交人", note: "备注", reviews: "评审", show: "查看", approve: "批准",
    reject: "驳回", withdraw: "撤回", propose: "提交评审", proposed: "已提交", state_draft: "待评审", state_reviewed: "已评审",
    state_rejected: "已驳回", state_published: "已发布", review_none: "无需评审", review_one: "需一人评审",
    "review_four-eyes": "需他人评审", audit: "审计", who: "操作者", what: "操作", whom: "对象", from: "起始时间", tenant: "租户", done: "完成",
    refused: "拒绝", older: "还有更早的记录，请缩小范围。",
    identifiers: "身份关联", byEvent: "来自事件", alone: "没有其他标识。",
    split: "不属于此人", splitAsk: "将 {one} 从 {person} 中拆分？双方将永久恢复为未曾关联的状态。",
    splitting: "正在根据日志重算双方……", apart: "已拆分为两人。", approximate: "因日志开始较晚而不精确",
    auditHelp: "谁查看了谁，谁更改了什么，最新在前。人以假名显示，可按标识查找。",
    backtest: "用历史数据测试", past: "回溯时间", testing: "正在用两个版本重算日志……", events: "个事件",
    profiles: "个画像", cut: "数据多于一次可读取的上限，这里是最新的部分。", joins: "仅草稿", leaves: "仅生效版本",
    inBoth: "重合", joining: "例如，将进入", leaving: "例如，将离开", perDaySent: "每天发送", cost: "开销", bytes: "每个画像字节数", eventsPerSecond: "事件/秒",
    fromEmpty: "每个画像从该范围的第一个事件开始为空：更长的时间窗口会偏少，两个版本相同。",
    deliveries: "投递", destination: "目的地", delivered: "已送达", failed: "失败", late: "已过期", withdrawn: "已撤回", attempts: "尝试次数",
    queued: "等待中", on: "启用", held: "暂停投递", off: "已停用 (410)", enable: "启用", enabled: "已启用", dead: "已放弃", lastError: "最后的错误",
    latency: "平均用时", resendAsk: "重新投递这些？", resent: "即将重新投递", sinceStart: "自投递进程启动以来",
    not_again: "尚不可再次发送", not_cancelled: "已取消", not_cap: "超过频次上限", not_consent: "未获同意", not_cooldown: "距上次过近",
    not_expired: "已过期", not_holdout: "对照组", not_max_age: "时间过久", not_priority: "已优先其他触发器", not_quiet: "免打扰时段",
    not_running: "仍在进行中", not_superseded: "被较新的取代", not_too_many: "等待过多", not_withdrawn: "已撤回",
    unwatched: "服务器不知道投递进程的指标地址：请设置 deliver_metrics。", unanswered: "没有应答",
  },
};

export const language = () => localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
export const setLanguage = (name) => localStorage.setItem("language", name);
/** The word in the language of this browser. */
export const t = (key) => WORDS[language()][key] ?? key;
/** Why a trigger was not sent, in words; a reason without any as it is. */
export const notSentFor = (reason) => WORDS[language()][`not_${reason}`] ?? reason;
export const number = (value) => value === null ? "–" : new Intl.NumberFormat(language()).format(value);
/** So many days, in words. */
export const days = (count) => new Intl.NumberFormat(language(), {style: "unit", unit: "day", unitDisplay: "long"}).format(count);
/** A sum; where something of it is withheld, what it is at least. */
export const summed = (values) => `${values.includes(null) ? "≥ " : ""}${number(values.reduce((sum, value) => sum + value, 0))}`;
export const when = (text) => new Intl.DateTimeFormat(language(), {dateStyle: "medium", timeStyle: "medium"}).format(new Date(text));
export const clock = (text) => new Intl.DateTimeFormat(language(), {timeStyle: "medium"}).format(new Date(text));
export const keys = {en: Object.keys(WORDS.en), zh: Object.keys(WORDS.zh)};
