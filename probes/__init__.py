"""What is done to a finished run with its weights frozen: steering, setting beliefs."""
