"""The script that streamlit runs whenever something on the web page changes."""

from stageinteractor.prediction.web import show

if __name__ == "__main__":
    show()
