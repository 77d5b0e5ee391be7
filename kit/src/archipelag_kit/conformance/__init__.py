"""What every Cargo must do before it is listed, tried in the sandbox that Islands use."""
