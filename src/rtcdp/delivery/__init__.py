"""The process that tells other tools: triggers and changes to webhooks, messengers and files, and back what became of them."""
