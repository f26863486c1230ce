//! Chat templates and conversations.
